"""A name → everything that answers under it: engine, template, tokenizer, and how they fit.

Knows how models are found and which tokens end an answer. Knows nothing of pages, files or jobs.
Imports torch only when an engine is opened.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from camelid_core.artefacts import TemplateContract
from camelid_core.contract import check_contract, contract_of
from camelid_core.errors import ModelError
from camelid_core.loading import Dtype, load_tokenizer
from camelid_core.models import Reference, resolve_model
from camelid_core.plugins import Host
from camelid_core.records import Message
from camelid_core.rope import rope_parameters
from camelid_core.templates import PromptTemplate
from camelid_core.tokenizing import Encoder

from .engine import Engine, EngineKind, PromptTooLong, Sampling, TakesAdapters

Report = Callable[[str], None]


@dataclass(frozen=True)
class Assembled:
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

    def decode(self, ids: Sequence[int]) -> str:
        tokenizer = self.encoder.tokenizer
        return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def with_template(self, template: PromptTemplate) -> Assembled:
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
        return contract_of(self.template, self.encoder.tokenizer, overrides)

    def close(self) -> None:
        self.engine.close()


def assemble(
    name: str,
    host: Host,
    template: str = "",
    dtype: Dtype = "auto",
    engine: str = "transformers",
    slots: int = 16,
    report: Report = lambda text: None,
) -> Assembled:
    """Load model or artefact `name`. `template` overrides the model's own; `slots` requests run at once.

    Raises:
        UnknownName: no such model, template or engine.
        ModelError: it cannot be loaded, or is not here yet.
        ArtefactError: its template or tokenizer is not what it was trained with.
    """
    return assemble_reference(resolve_model(name, host), host, template, dtype, engine, slots, report)


def assemble_reference(
    reference: Reference,
    host: Host,
    template: str = "",
    dtype: Dtype = "auto",
    engine: str = "transformers",
    slots: int = 16,
    report: Report = lambda text: None,
) -> Assembled:
    """The same for a model that was found already, and perhaps had its positions stretched."""
    return _assemble({"": reference}, host, template, dtype, engine, slots, report)[""]


def assemble_all(
    names: Mapping[str, str],
    host: Host,
    template: str = "",
    dtype: Dtype = "auto",
    engine: str = "transformers",
    slots: int = 16,
    report: Report = lambda text: None,
) -> dict[str, Assembled]:
    """Several at once, each under a label of its own: those with one base share one engine.

    Raises:
        UnknownName, ModelError, ArtefactError: as `assemble` does; nothing stays loaded then.
    """
    references = {label: resolve_model(name, host) for label, name in names.items()}
    return _assemble(references, host, template, dtype, engine, slots, report)


def _assemble(
    references: Mapping[str, Reference],
    host: Host,
    template: str,
    dtype: Dtype,
    engine: str,
    slots: int,
    report: Report,
) -> dict[str, Assembled]:
    kind = host.registry("camelid_engines")[engine]
    report("Reading the tokenizer")
    encoders = {label: _encoder(reference, host, template) for label, reference in references.items()}
    ready: dict[str, Assembled] = {}
    engines: dict[_Base, Engine] = {}
    try:
        # adapters first: a base that was loaded bare takes none later
        for label, reference in sorted(references.items(), key=lambda item: item[1].peft is None):
            opened, adapter = _open(kind, reference, engines, dtype, slots, report)
            ready[label] = _assembled(reference, encoders[label], opened, adapter)
    except BaseException:
        for opened in engines.values():
            opened.close()
        raise
    return {label: ready[label] for label in references}


_Base = tuple[Path, str]
"""Weights on disk and how their positions are scaled: what adapters must have in common to share an engine."""


def _open(
    kind: EngineKind, reference: Reference, engines: dict[_Base, Engine], dtype: Dtype, slots: int, report: Report
) -> tuple[Engine, str | None]:
    """The engine that holds the reference's base, and the name its adapter has there."""
    report(f"Loading {reference.base_id}" + (f" with adapter {reference.name}" if reference.peft else ""))
    base = (reference.base, json.dumps(rope_parameters(reference.config), sort_keys=True))
    known = engines.get(base)
    if known is None:
        opened = engines[base] = kind.open(reference, dtype, slots)
        return opened, opened.adapters[0] if opened.adapters else None
    if reference.peft is None:
        return known, None
    if not isinstance(known, TakesAdapters):
        raise ModelError(f"engine {kind.name!r} holds one adapter per base; serve {reference.name!r} on its own.")
    return known, known.add_adapter(reference)


def _encoder(reference: Reference, host: Host, template: str) -> Encoder:
    if not (template or reference.template):
        raise ModelError(
            f"no template is known for {reference.name!r}; choose one: {', '.join(host.templates.names())}."
        )
    encoder = Encoder(load_tokenizer(reference), host.templates[template or reference.template])
    _check(reference, encoder)
    return encoder


def _assembled(reference: Reference, encoder: Encoder, engine: Engine, adapter: str | None) -> Assembled:
    stops, texts = _ends(reference, encoder)
    return Assembled(
        engine=engine,
        encoder=encoder,
        template=encoder.template,
        reference=reference,
        adapter=adapter,
        stops=stops,
        stop_texts=texts,
        sampling=_recommended(reference),
    )


def _check(reference: Reference, encoder: Encoder) -> None:
    contract = reference.manifest.template if reference.manifest else None
    if contract is not None and contract.name == encoder.template.name:
        check_contract(contract, encoder.template, encoder.tokenizer)


def _ends(reference: Reference, encoder: Encoder) -> tuple[frozenset[int], tuple[str, ...]]:
    """Token ids that end an answer: the model's, the tokenizer's and the template's; and the template's other stops."""
    tokenizer = encoder.tokenizer
    given = [_values(reference.base / name).get("eos_token_id") for name in ("generation_config.json", "config.json")]
    ids = {tokenizer.eos_token_id, *(token for each in given for token in (each if isinstance(each, list) else [each]))}
    special = {token.content: number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    ids |= {special[stop] for stop in encoder.template.stops if stop in special}
    texts = tuple(stop for stop in encoder.template.stops if stop not in special)
    return frozenset(token for token in ids if isinstance(token, int)), texts


def _recommended(reference: Reference) -> Sampling:
    """What `generation_config.json` asks for; greedy where it does not sample."""
    given = _values(reference.base / "generation_config.json")
    if not given.get("do_sample"):
        return Sampling()
    keys = ("temperature", "top_p", "top_k", "repetition_penalty")
    return Sampling.model_validate(
        {"temperature": 1.0} | {key: given[key] for key in keys if given.get(key) is not None}
    )


def _values(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
