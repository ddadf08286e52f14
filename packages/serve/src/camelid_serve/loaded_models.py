"""A name → everything that answers under it: engine, template, tokenizer, and how they fit.

Knows how models are found and which tokens end an answer. Knows nothing of pages, files or jobs.
Imports torch only when an engine is opened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from camelid_core.artefacts import TemplateContract
from camelid_core.errors import MissingPackage, ModelError, UnknownName, UsageError
from camelid_core.models.gguf import is_gguf
from camelid_core.models.loading import load_tokenizer
from camelid_core.models.reference import Reference, resolve_model
from camelid_core.plugins import Host
from camelid_core.records import Message
from camelid_core.template_contract import check_contract, make_contract
from camelid_core.templates.template import PromptTemplate
from camelid_core.tokenization.encoder import Encoder

from .config import DEFAULT_ENGINE, EngineConfig
from .engine import CannotShare, Engine, PromptTooLong, Report, Sampling
from .engine_pool import Engines
from .engine_spec import ChosenEngine, parse_engine_spec


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to answer. `stops` are token ids, `stop_texts` texts that end an answer;
    `adapter` is None for a bare base; `sampling` is what the model's makers recommend."""

    engine: Engine
    encoder: Encoder
    template: PromptTemplate
    reference: Reference
    adapter: str | None
    stops: frozenset[int]
    stop_texts: tuple[str, ...]
    sampling: Sampling

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Ids to answer from.

        Raises:
            TemplateError: a conversation the template has no form for.
            ModelError: longer than the model takes.
        """
        self.check_length(sum(len(message.content) + len(message.context) for message in messages))
        ids = self.encoder.prompt_ids(messages)
        if len(ids) >= self.engine.context_length:
            raise PromptTooLong(len(ids), self.engine.context_length)
        return ids

    def check_length(self, characters: int) -> None:
        """Refuse a text that cannot fit whatever its tokens are: to encode a megabyte takes half a gigabyte.

        Raises:
            ModelError: longer than the model takes.
        """
        least = characters // self._longest_token
        if least >= self.engine.context_length:
            raise PromptTooLong(least, self.engine.context_length, counted=False)

    @cached_property
    def _longest_token(self) -> int:
        """Characters that a token stands for at most."""
        return max(map(len, self.encoder.tokenizer.get_vocab()))

    @cached_property
    def vocabulary(self) -> int:
        """How many tokens a prompt may be made of."""
        size = len(self.encoder.tokenizer)
        return min(size, int(self.reference.config.get("vocab_size") or size))

    def decode(self, ids: Sequence[int]) -> str:
        tokenizer = self.encoder.tokenizer
        return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def with_template(self, template: PromptTemplate) -> LoadedModel:
        """The same resident model under another template."""
        if template.name == self.template.name:
            return self
        encoder = Encoder(self.encoder.tokenizer, template)
        stops, texts = _ends(self.reference, encoder)
        return replace(self, encoder=encoder, template=encoder.template, stops=stops, stop_texts=texts)

    def contract(self) -> TemplateContract:
        """The template in force; `overrides` names the model's own where a person chose another."""
        own = self.reference.template
        overrides = own if own and own != self.template.name else ""
        return make_contract(self.template, self.encoder.tokenizer, overrides)

    def close(self) -> None:
        self.engine.close()


def load_model(
    name: str, host: Host, how: EngineConfig = DEFAULT_ENGINE, report: Report = lambda text: None
) -> LoadedModel:
    """Load model or artefact `name`.

    Raises:
        UnknownName: no such model, template or engine.
        ModelError: it cannot be loaded, or is not here yet.
        ArtefactError: its template or tokenizer is not what it was trained with.
    """
    return load_resolved_model(resolve_model(name, host), host, how, report)


def load_resolved_model(
    reference: Reference, host: Host, how: EngineConfig, report: Report = lambda text: None
) -> LoadedModel:
    """The same for a model that was found already, and perhaps had its positions stretched."""
    residents = LoadedModels()
    try:
        residents.take({"": reference}, host, how, report)
    except BaseException:
        residents.close()
        raise
    return residents.models[""]


class LoadedModels:
    """Models under labels of their own, those with one base on one engine. They come and go while others answer."""

    def __init__(self) -> None:
        self.models: dict[str, LoadedModel] = {}
        self._how = DEFAULT_ENGINE
        self._engines = Engines()

    def load(
        self,
        names: Mapping[str, str],
        host: Host,
        how: EngineConfig = DEFAULT_ENGINE,
        report: Report = lambda text: None,
    ) -> None:
        """Make these resident and no others. What is here and still wanted as it is stays.

        Raises:
            UnknownName, ModelError, ArtefactError: as `load_model` does; nothing stays loaded then.
        """
        try:
            self.models = {}  # from now on nothing is answered by what may go
            references = {label: resolve_model(name, host) for label, name in names.items()}
            self.take(references, host, how, report)
        except BaseException:
            self.close()
            raise

    def take(self, references: Mapping[str, Reference], host: Host, how: EngineConfig, report: Report) -> None:
        """The same for models that were found already."""
        template, how = how.template, how.model_copy(update={"template": ""})  # no engine knows of templates
        if how != self._how:
            self._engines.close()
            self._engines, self._how = Engines(how.dtype, how.slots), how
        kinds = {label: _kind(how.engine, reference, host) for label, reference in references.items()}
        report("Reading the tokenizer")
        encoders = {label: encoder_of(reference, host, template) for label, reference in references.items()}
        self._engines.keep_for(references.values())  # the memory of the others is needed for what comes
        ready = {}
        # adapters first: some engines take none later
        for label, reference in sorted(references.items(), key=lambda item: item[1].peft is None):
            placed = self._engines.place(reference, kinds[label], report)
            ready[label] = _assembled(reference, encoders[label], *placed)
        self.models = {label: ready[label] for label in references}
        self._free()

    def add(
        self,
        label: str,
        name: str,
        host: Host,
        template: str = "",
        share: bool = False,
        report: Report = lambda text: None,
    ) -> None:
        """Make one more resident. It has an engine of its own if none has its base, unless it must `share` one.

        Raises:
            UsageError: the label is taken.
            UnknownName, ModelError, ArtefactError: as `load_model` does; all is as it was then.
        """
        if label in self.models:
            raise UsageError(f"a model is loaded as {label!r} already; choose another label.")
        reference = resolve_model(name, host)
        kind, encoder = _kind(self._how.engine, reference, host), encoder_of(reference, host, template)
        try:
            placed = self._engines.place(reference, kind, report, share)
            self.models = {**self.models, label: _assembled(reference, encoder, *placed)}
        finally:
            self._free()

    def remove(self, label: str, share: bool = False) -> None:
        """Let go of one. An engine that nobody needs any more goes at once, whatever it is answering, unless the model
        must `share` it with one that stays; on one that stays answers under way end first.

        Raises:
            UnknownName: there is none of that label.
            CannotShare: it must share its engine, and no other model is on it.
        """
        if label not in self.models:
            raise UnknownName("model", label, self.models)
        left = {other: each for other, each in self.models.items() if other != label}
        if share and all(each.engine is not self.models[label].engine for each in left.values()):
            raise CannotShare(f"{label!r} is all that is served of its base, which would go with it.")
        self.models = left
        self._free()

    def close(self) -> None:
        self.models = {}
        self._engines.close()

    def _free(self) -> None:
        self._engines.keep({(each.engine, each.adapter) for each in self.models.values()})


def _kind(name: str, reference: Reference, host: Host) -> ChosenEngine:
    """The engine of that name; for a GGUF file one that runs those."""
    kinds = host.registry("camelid_engines")
    chosen = parse_engine_spec(kinds, name)
    if chosen.kind.gguf or not is_gguf(reference.base):
        return chosen
    for kind in kinds:
        if kind.gguf and not kind.options:
            return ChosenEngine(kind)
    raise MissingPackage(
        f"{reference.name!r} is a GGUF file, and no engine for those is installed; pip install camelid-llamacpp."
    )


def encoder_of(reference: Reference, host: Host, template: str) -> Encoder:
    """How its prompts are made: its tokenizer under `template`, or under its own for none.

    Raises:
        ModelError: no template is known for it.
        UnknownName, ArtefactError: no such template, or not what the model was trained with.
    """
    if not (template or reference.template):
        raise ModelError(
            f"no template is known for {reference.name!r}; choose one: {', '.join(host.templates.names())}."
        )
    encoder = Encoder(load_tokenizer(reference), host.templates[template or reference.template])
    _check(reference, encoder)
    return encoder


def _assembled(reference: Reference, encoder: Encoder, engine: Engine, adapter: str | None) -> LoadedModel:
    stops, texts = _ends(reference, encoder)
    return LoadedModel(
        engine=engine,
        encoder=encoder,
        template=encoder.template,
        reference=reference,
        adapter=adapter,
        stops=stops,
        stop_texts=texts,
        sampling=recommended(reference),
    )


def _check(reference: Reference, encoder: Encoder) -> None:
    contract = reference.manifest.template if reference.manifest else None
    if contract is not None and contract.name == encoder.template.name:
        check_contract(contract, encoder.template, encoder.tokenizer)


def _ends(reference: Reference, encoder: Encoder) -> tuple[frozenset[int], tuple[str, ...]]:
    """Token ids that end an answer: the model's, the tokenizer's and the template's; and the template's other stops."""
    tokenizer = encoder.tokenizer
    sources = (_values(reference.base / "generation_config.json"), reference.config)
    given = [each.get("eos_token_id") for each in sources]
    ids = {tokenizer.eos_token_id, *(token for each in given for token in (each if isinstance(each, list) else [each]))}
    special = {token.content: number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    ids |= {special[stop] for stop in encoder.template.stops if stop in special}
    texts = tuple(stop for stop in encoder.template.stops if stop not in special)
    return frozenset(token for token in ids if isinstance(token, int)), texts


def recommended(reference: Reference) -> Sampling:
    """What `generation_config.json` asks for; greedy where it does not sample."""
    given = _values(reference.base / "generation_config.json")
    if not given.get("do_sample"):
        return Sampling()
    keys = ("temperature", "top_p", "top_k", "repetition_penalty", "no_repeat_ngram_size")
    return Sampling.model_validate(
        {"temperature": 1.0} | {key: given[key] for key in keys if given.get(key) is not None}
    )


def _values(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
