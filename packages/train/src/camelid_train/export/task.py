"""The export task: a model, or an adapter that is merged first, written in the format that its section chooses.

Knows what all formats share: the merge before, prompting files, card and manifest. Knows no format.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from camelid_core.artefacts import Artefact, BaseModelEntry, Licences, Manifest, TemplateContract, write_manifest
from camelid_core.integrity import fingerprint
from camelid_core.jobs.foreground import open_store
from camelid_core.models.loading import load_tokenizer
from camelid_core.models.plugin_versions import plugin_notes
from camelid_core.models.resolved_model import ResolvedModel, resolve_model
from camelid_core.models.template_choice import template_of
from camelid_core.plugins import Host, load_host
from camelid_core.tasks import TaskContext
from camelid_core.template_contract import make_contract
from camelid_core.tokenization.encoder import Encoder

from camelid_train.export.merge_config import MergeConfig
from camelid_train.saving.disk_space import removed_on_failure
from camelid_train.saving.model_card import write_card
from camelid_train.saving.published_prompting import write_prompting
from camelid_train.sections import ExportSection

from .config import ExportConfig
from .export_plan import announcement, check, done_as, export_source, needs_merge, past_speeds
from .exporter import ExportContext, Exporter, ExportResult, exporter_of
from .merge import merge

_MERGED = "merged"


def export(config: ExportConfig, context: TaskContext) -> Mapping[str, Any]:
    """Write the model in another format to `context.output`.

    Raises:
        Interrupted: a stop was requested.
        ModelError: this model cannot be had in this format, or not on this machine.
        DiskFull: the result does not fit.
    """
    context.emit("resume", step=0)
    host, exporter = load_host(), exporter_of(config.to)
    source = export_source(config, host)
    estimate = check(config, source, context.directory, past_speeds(open_store()))
    for text in (announcement(estimate), *plugin_notes(source, host)):
        context.emit("log", text=text)
    merging = needs_merge(exporter, source)
    with _merged(source, context) if merging else nullcontext(source) as whole, removed_on_failure(context.output):
        kept = {"estimated_size": estimate.size, "source": _origin(source, whole)}
        result, written = _written(config.to, whole, kept, host, context)
    size = sum(entry.size for entry in written.manifest.files.values())
    return {**result.metrics, "size": size, **done_as(config, source)}


def _written(
    section: ExportSection, whole: ResolvedModel, kept: Mapping[str, Any], host: Host, context: TaskContext
) -> tuple[ExportResult, Artefact]:
    """Write what the exporter of the section makes, and what all exports have; `kept` goes into the manifest."""
    exporter, template = exporter_of(section), template_of(whole, host)
    encoder = Encoder(load_tokenizer(whole), template)
    stored = whole.manifest.template if whole.manifest else None
    contract = stored or make_contract(template, encoder.tokenizer)
    finish = _Finish(exporter, whole, host, encoder, contract, kept)
    context.output.mkdir(parents=True)
    result = exporter.export(whole, section, ExportContext(context.output, context, host, encoder, contract, finish))
    return result, finish(context.output, section, result)


def _origin(source: ResolvedModel, whole: ResolvedModel) -> Mapping[str, str]:
    """What a manifest keeps of the source, by which it is found again and known."""
    path = str(source.adapter_dir or source.base)
    return {"name": source.name, "path": path, "fingerprint": fingerprint(whole.base)}


@dataclass(frozen=True)
class _Finish:
    """Writes beside an exporter's files in a directory: what prompts the model, the card, and the manifest, last.
    `kept` goes into the manifest beside the section's own settings."""

    exporter: Exporter[Any]
    whole: ResolvedModel
    host: Host
    encoder: Encoder
    contract: TemplateContract
    kept: Mapping[str, Any]

    def __call__(self, directory: Path, section: ExportSection, made: ExportResult) -> Artefact:
        if self.exporter.prompting and not made.parts:
            write_prompting(directory, self.whole.base, self.whole.config, self.encoder, self.contract.jinja)
        manifest = _manifest(section, self.whole, self.contract, made, self.kept)
        write_card(directory, manifest, self.host)
        return write_manifest(directory, manifest)


@contextmanager
def _merged(source: ResolvedModel, context: TaskContext) -> Iterator[ResolvedModel]:
    """The adapter merged with its base, in this attempt's own directory while it is used."""
    target = context.directory / _MERGED
    try:
        merge(MergeConfig(adapter=source.name), _MergeContext(context, target))
        whole = resolve_model(str(target), load_host())
        yield replace(whole, name=source.name, base_id=source.base_id)
    finally:
        shutil.rmtree(target, ignore_errors=True)


@dataclass(frozen=True)
class _MergeContext:
    """The context of the merge inside of an export: its own output; everything else is the export's."""

    task: TaskContext
    output: Path

    @property
    def directory(self) -> Path:
        return self.task.directory

    @property
    def earlier_attempts(self) -> tuple[Path, ...]:
        return ()

    def emit(self, kind: str, **values: Any) -> None:
        if kind != "resume":
            self.task.emit(kind, **values)

    def stop_requested(self) -> Any:
        return self.task.stop_requested()


def _manifest(
    section: ExportSection, whole: ResolvedModel, contract: Any, result: ExportResult, made: Mapping[str, Any]
) -> Manifest:
    """The source's manifest with what was made of it: `made` beside the section's settings. A model without a manifest
    is its own base."""
    kind = exporter_of(section).kind
    base = BaseModelEntry(id=whole.base_id, path=str(whole.base), model_type=str(whole.config.get("model_type", "")))
    source = whole.manifest or Manifest(kind=kind, base=base, licences=Licences.of(whole.licence, (), whole.generator))
    parameters = {**section.model_dump(mode="json"), **made, **result.parameters}
    update = {
        "kind": kind,
        "template": contract,
        "parameters": {**source.parameters, "export": parameters},
        "metrics": {**source.metrics, **result.metrics},
        "files": {},
    }
    return source.model_copy(update=update)
