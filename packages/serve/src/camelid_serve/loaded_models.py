"""A model's name → a loaded model: engine, prompt template and tokenizer, and whether they fit.

Knows how models are resolved, loaded and unloaded, and which tokens end an answer. Knows nothing of pages, files or
jobs. Imports torch only when an engine loads its weights.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from camelid_core.artefacts import TemplateContract
from camelid_core.errors import MissingPackage, UnknownName, UsageError
from camelid_core.json_files import object_in
from camelid_core.models.gguf import is_gguf
from camelid_core.models.loading import load_tokenizer
from camelid_core.models.plugin_versions import plugin_notes
from camelid_core.models.resolved_model import ResolvedModel, resolve_model
from camelid_core.models.template_choice import base_template_of, template_of
from camelid_core.models.vocabulary import check_vocabulary
from camelid_core.plugins import Host
from camelid_core.records import Message
from camelid_core.template_contract import check_contract, make_contract
from camelid_core.templates.template import PromptTemplate
from camelid_core.tokenization.encoder import Encoder

from .config import DEFAULT_ENGINE, EngineConfig
from .engine import CannotShare, Engine, PromptTooLong, Report, Sampling
from .engine_pool import EnginePool
from .engine_spec import ChosenEngine, parse_engine_spec
from .generation_config import FILE, recommended_sampling, unused_settings


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to generate. `stops` are the token ids and `stop_texts` the texts that end an answer;
    `adapter` is its name on the engine, None for a bare base model; `sampling` is what the model's makers recommend;
    `base_template` is that of an adapter's base, where it is another one and nobody chose one for both."""

    engine: Engine
    encoder: Encoder
    template: PromptTemplate
    resolved: ResolvedModel
    adapter: str | None
    stops: frozenset[int]
    stop_texts: tuple[str, ...]
    sampling: Sampling
    base_template: PromptTemplate | None = None

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation, ending with the generation prompt; or, where the last message is an answer
        (a prefill), with that answer, which the model continues.

        Raises:
            TemplateError: a conversation the template has no form for.
            ModelError: longer than the model takes.
        """
        self.check_length(sum(len(message.content) + len(message.context) for message in messages))
        ids = self.encoder.given_ids(messages)
        if len(ids) >= self.engine.context_length:
            raise PromptTooLong(len(ids), self.engine.context_length)
        return ids

    def check_length(self, characters: int) -> None:
        """Refuse a text that is too long however it is tokenised: to encode a megabyte takes half a gigabyte.

        Raises:
            ModelError: longer than the model takes.
        """
        least = characters // self._longest_token
        if least >= self.engine.context_length:
            raise PromptTooLong(least, self.engine.context_length, counted=False)

    @cached_property
    def _longest_token(self) -> int:
        """Length of the longest token in characters."""
        return max(map(len, self.encoder.tokenizer.get_vocab()))

    @cached_property
    def vocabulary(self) -> int:
        """Vocabulary size: ids of prompts are below it."""
        size = len(self.encoder.tokenizer)
        return min(size, int(self.resolved.config.get("vocab_size") or size))

    def with_template(self, template: PromptTemplate) -> LoadedModel:
        """The same loaded model under another template."""
        if template.name == self.template.name:
            return self
        encoder = Encoder(self.encoder.tokenizer, template)
        stops, texts = stops_of(self.resolved, encoder)
        return replace(self, encoder=encoder, template=encoder.template, stops=stops, stop_texts=texts)

    def side(self, tuned: bool) -> LoadedModel:
        """This model as it is asked with the adapter or, if not `tuned`, without: each under its own template."""
        return self if tuned or self.base_template is None else self.with_template(self.base_template)

    @property
    def template_reason(self) -> str:
        """Why it is asked in this template."""
        return self.resolved.template_reason if self.template.name == self.resolved.template else "chosen"

    @property
    def templates_differ(self) -> str:
        """A sentence on the templates that both sides of a comparison have; empty where they have one."""
        if self.base_template is None:
            return ""
        return (
            f"The base model is asked in its own template, {self.base_template.name!r}, and {self.resolved.name!r} in "
            f"the one it was trained with, {self.template.name!r}; --template sets one for both."
        )

    def contract(self) -> TemplateContract:
        """Contract of the template in use; its `overrides` names the model's own where a person chose another."""
        own = self.resolved.template
        overrides = own if own and own != self.template.name else ""
        return make_contract(self.template, self.encoder.tokenizer, overrides)

    def close(self) -> None:
        self.engine.close()


def load_model(
    name: str, host: Host, config: EngineConfig = DEFAULT_ENGINE, report: Report = lambda text: None
) -> LoadedModel:
    """Load model or artefact `name`.

    Raises:
        UnknownName: no such model, template or engine.
        ModelError: it cannot be loaded, or is not here yet.
        ArtefactError: its template or tokenizer is not what it was trained with.
    """
    return load_resolved_model(resolve_model(name, host), host, config, report)


def load_resolved_model(
    resolved: ResolvedModel, host: Host, config: EngineConfig, report: Report = lambda text: None
) -> LoadedModel:
    """The same for a resolved model, which may have RoPE scaling applied."""
    models = LoadedModels()
    try:
        models.load_resolved({"": resolved}, host, config, report)
    except BaseException:
        models.close()
        raise
    return models.models[""]


class LoadedModels:
    """Loaded models by label; those of one base share an engine. They are loaded and unloaded while others answer."""

    def __init__(self) -> None:
        self.models: dict[str, LoadedModel] = {}
        self._config = DEFAULT_ENGINE
        self._engines = EnginePool()

    def load(
        self,
        names: Mapping[str, str],
        host: Host,
        config: EngineConfig = DEFAULT_ENGINE,
        report: Report = lambda text: None,
    ) -> None:
        """Load these models and unload all others. Those that are loaded and unchanged stay.

        Raises:
            UnknownName, ModelError, ArtefactError: as `load_model` does; nothing stays loaded then.
        """
        try:
            self.models = {}  # from now on nothing is answered by what may be unloaded
            resolved_models = {label: resolve_model(name, host) for label, name in names.items()}
            self.load_resolved(resolved_models, host, config, report)
        except BaseException:
            self.close()
            raise

    def load_resolved(
        self, resolved_models: Mapping[str, ResolvedModel], host: Host, config: EngineConfig, report: Report
    ) -> None:
        """The same for resolved models."""
        template, config = config.template, config.model_copy(update={"template": ""})  # no engine knows of templates
        if config != self._config:
            self._engines.close()
            self._engines, self._config = EnginePool(config.dtype, config.slots), config
        engines = {label: engine_for(config.engine, resolved, host) for label, resolved in resolved_models.items()}
        _import_libraries(report)
        for resolved in resolved_models.values():
            _report_plugins(resolved, host, report)
        report("Reading the tokenizer")
        encoders = {label: load_encoder(resolved, host, template) for label, resolved in resolved_models.items()}
        self._engines.keep_for(resolved_models.values())  # the others' memory is needed for what is loaded next
        models = {}
        # adapters first: some engines cannot load one later
        for label, resolved in sorted(resolved_models.items(), key=lambda item: item[1].adapter_dir is None):
            placement = self._engines.place(resolved, engines[label], report)
            models[label] = _loaded(
                resolved, encoders[label], *placement, report, _base_template(resolved, host, template)
            )
        self.models = {label: models[label] for label in resolved_models}
        self._close_unused()

    def add(
        self,
        label: str,
        name: str,
        host: Host,
        template: str = "",
        share: bool = False,
        report: Report = lambda text: None,
    ) -> None:
        """Load one more. It gets an engine of its own if none has its base model, unless it must `share` one.

        Raises:
            UsageError: the label is taken.
            UnknownName, ModelError, ArtefactError: as `load_model` does; nothing has changed then.
        """
        if label in self.models:
            raise UsageError(f"a model is loaded as {label!r} already; choose another label.")
        resolved = resolve_model(name, host)
        _report_plugins(resolved, host, report)
        engine, encoder = engine_for(self._config.engine, resolved, host), load_encoder(resolved, host, template)
        try:
            placement = self._engines.place(resolved, engine, report, share)
            self.models = {
                **self.models,
                label: _loaded(resolved, encoder, *placement, report, _base_template(resolved, host, template)),
            }
        finally:
            self._close_unused()

    def remove(self, label: str, share: bool = False) -> None:
        """Unload one. An engine without models is closed at once, whatever it is answering, unless the model must
        `share` it with one that stays; on an engine that stays, running requests end first.

        Raises:
            UnknownName: no model has that label.
            CannotShare: it must share its engine, and no other model uses it.
        """
        if label not in self.models:
            raise UnknownName("model", label, self.models)
        remaining = {other: each for other, each in self.models.items() if other != label}
        if share and all(each.engine is not self.models[label].engine for each in remaining.values()):
            raise CannotShare(f"{label!r} is all that is served of its base, which would go with it.")
        self.models = remaining
        self._close_unused()

    def close(self) -> None:
        self.models = {}
        self._engines.close()

    def _close_unused(self) -> None:
        self._engines.keep({(each.engine, each.adapter) for each in self.models.values()})


def _report_plugins(resolved: ResolvedModel, host: Host, report: Report) -> None:
    for note in plugin_notes(resolved, host):
        report(note)


def _import_libraries(report: Report) -> None:
    """Whoever waits for a process's first model waits longest for these, unless it is large."""
    if "transformers" not in sys.modules:
        report("Importing PyTorch and Transformers")
        from transformers import AutoTokenizer  # noqa: F401


def engine_for(spec: str, resolved: ResolvedModel, host: Host) -> ChosenEngine:
    """The engine of that spec; for a GGUF file one that runs those."""
    kinds = host.registry("camelid_engines")
    chosen = parse_engine_spec(kinds, spec)
    if chosen.kind.gguf or not is_gguf(resolved.base):
        return chosen
    for kind in kinds:
        if kind.gguf and not kind.options:
            return ChosenEngine(kind)
    raise MissingPackage(
        f"{resolved.name!r} is a GGUF file, and no engine for those is installed; pip install camelid-llamacpp."
    )


def load_encoder(resolved: ResolvedModel, host: Host, template: str) -> Encoder:
    """Its tokenizer under `template`; an empty one takes its own.

    Raises:
        ModelError, UnknownName, UsageError: as `template_of` does.
        ArtefactError: the template is not what the model was trained with.
    """
    found = template_of(resolved, host, template)
    encoder = Encoder(load_tokenizer(resolved), found)
    _check_template(resolved, encoder)
    if not is_gguf(resolved.base):
        check_vocabulary(encoder, resolved)
    return encoder


def _loaded(
    resolved: ResolvedModel,
    encoder: Encoder,
    engine: Engine,
    adapter: str | None,
    report: Report,
    base_template: PromptTemplate | None,
) -> LoadedModel:
    if unused := unused_settings(resolved):
        report(unused)
    stops, texts = stops_of(resolved, encoder)
    return LoadedModel(
        engine=engine,
        encoder=encoder,
        template=encoder.template,
        resolved=resolved,
        adapter=adapter,
        stops=stops,
        stop_texts=texts,
        sampling=recommended_sampling(resolved),
        base_template=base_template,
    )


def _base_template(resolved: ResolvedModel, host: Host, chosen: str) -> PromptTemplate | None:
    """The template of an adapter's base, if it is another one than the adapter's and none was `chosen` for both."""
    own = resolved.base_template
    return base_template_of(resolved, host) if own and not chosen and own != resolved.template else None


def _check_template(resolved: ResolvedModel, encoder: Encoder) -> None:
    contract = resolved.manifest.template if resolved.manifest else None
    if contract is not None and contract.name == encoder.template.name:
        check_contract(contract, encoder.template, encoder.tokenizer)


def stops_of(resolved: ResolvedModel, encoder: Encoder) -> tuple[frozenset[int], tuple[str, ...]]:
    """Token ids that end an answer: of the model, the tokenizer and the template; and the template's stop texts."""
    configs = (object_in(resolved.base / FILE), resolved.config)
    eos = [config.get("eos_token_id") for config in configs]
    ids = {*encoder.stop_ids, *(token for each in eos for token in (each if isinstance(each, list) else [each]))}
    texts = tuple(stop for stop in encoder.template.stops if stop not in encoder.special)
    return frozenset(token for token in ids if isinstance(token, int)), texts
