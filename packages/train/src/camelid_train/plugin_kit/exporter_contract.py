"""The rules that an exporter keeps. Knows the export task; knows no format."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from camelid_core.artefacts import verify_directory
from camelid_core.errors import CamelidError
from camelid_core.integrity import sha256
from camelid_core.models.resolved_model import ResolvedModel
from camelid_core.plugin_kit.description_rules import assert_typeable
from camelid_core.plugins import load_host
from camelid_core.tasks import Interrupted

from camelid_train.export.config import ExportConfig
from camelid_train.export.export_plan import export_source
from camelid_train.export.exporter import Exporter, exporters
from camelid_train.sections import ExportSection

from .attempt_record import Attempt, attempts
from .section_rules import assert_section
from .written_files import assert_files

_TIMES = 3
_SMALL_FILES = 400_000
"""Bytes of tokenizer, card and manifest, which weigh as much as a tiny model."""


def assert_exporter_contract(
    exporter: Exporter[Any], source: Path, scratch: Path, section: ExportSection | None = None
) -> None:
    """What Camelid relies on in every exporter, shown by exporting the model or adapter at `source`:

    - it has a name that can be typed, a sentence of help, and a section that is chosen by its name;
    - `choices` are sections of its own, each with a suffix of its own that can be part of a file's name;
    - the estimate refuses nothing, and its size is right but for a factor of three;
    - what it writes is a sound artefact of its `kind`, none of whose files runs code, and the source stays as it was;
    - `load_line` is one line with the path in it;
    - a stop request ends it, and leaves nothing.

    The exporter must be installed: the export finds it by its name. `scratch` is an empty directory.
    """
    default = assert_section(exporter, ExportSection)
    name = exporter.name
    installed = name in exporters() and exporters()[name] is exporter
    assert installed, f"{name}: Camelid does not find it; return it from camelid_exporters, and install the plugin"
    config = ExportConfig.model_validate({"source": str(source), "to": section or default})
    resolved = export_source(config, load_host())
    _assert_choices(exporter, resolved)
    with contextmanager(attempts)(scratch) as attempt:
        _assert_writes(exporter, config, resolved, attempt(job=1))
        _assert_stops(exporter, config, attempt)


def _assert_choices(exporter: Exporter[Any], resolved: ResolvedModel) -> None:
    name, choices = exporter.name, list(exporter.choices(resolved))
    assert choices, f"{name}: it offers no choices; the page would have nothing to show"
    for choice in choices:
        assert isinstance(choice, exporter.config), f"{name}: the choice {choice!r} is no {exporter.config.__name__}"
    suffixes = [exporter.suffix(choice) for choice in choices]
    assert len(set(suffixes)) == len(suffixes), f"{name}: two choices have one suffix: {suffixes}"
    for suffix in suffixes:
        assert_typeable(suffix, f"{name}: the suffix")


def _assert_writes(exporter: Exporter[Any], config: ExportConfig, resolved: ResolvedModel, run: Attempt) -> None:
    from camelid_train.export.task import export

    name, source = exporter.name, Path(config.source)
    estimate = exporter.estimate(resolved, config.to)
    assert not estimate.refusal, f"{name}: it refuses this model: {estimate.refusal}"
    before = _digests(source)
    try:
        export(config, run)
    except CamelidError as error:
        raise AssertionError(f"{name}: the export fails: {error}") from error
    assert _digests(source) == before, f"{name}: it changes the model that it exports"
    manifest = verify_directory(run.output).manifest
    assert manifest.kind == exporter.kind, f"{name}: its kind is {exporter.kind!r}, the manifest says {manifest.kind!r}"
    written = sum(path.stat().st_size for path in assert_files(name, run.output))
    least, most = (written - _SMALL_FILES) / _TIMES, written * _TIMES
    assert least <= estimate.size <= most, f"{name}: it estimates {estimate.size:,} bytes and writes {written:,}"
    line = exporter.load_line("/models/MINE", config.to)
    assert "/models/MINE" in line, f"{name}: load_line does not name the path: {line!r}"
    assert "\n" not in line, f"{name}: load_line has several lines: {line!r}"


def _assert_stops(exporter: Exporter[Any], config: ExportConfig, attempt: Callable[..., Attempt]) -> None:
    from camelid_train.export.task import export

    run, stopped = attempt(job=2), False
    run.request_stop("save")
    try:
        export(config, run)
    except Interrupted:
        stopped = True
    assert stopped, f"{exporter.name}: a stop was requested, and it went on; call context.progress as it works"
    assert not run.output.exists(), f"{exporter.name}: it was stopped, and left half a result"


def _digests(source: Path) -> dict[str, str]:
    files = [source] if source.is_file() else [path for path in source.iterdir() if path.is_file()]
    return {path.name: sha256(path) for path in files}
