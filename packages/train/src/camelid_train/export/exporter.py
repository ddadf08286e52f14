"""`Exporter`: the interface of what writes a model in another format; `ExportSection` in the configuration chooses one.

An exporter is one file: an `ExportSection` with its settings, an `Exporter` that reads it, one instance of that.
Knows the contract between an exporter and the task, and the registry that the hook fills. Imports no torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from camelid_core.artefacts import ArtefactKind, TemplateContract
from camelid_core.plugins import load_host
from camelid_core.registry import Registry

from camelid_train.sections import ExportSection

if TYPE_CHECKING:
    from camelid_core.models.resolved_model import ResolvedModel
    from camelid_core.plugins import Host
    from camelid_core.tasks import TaskContext
    from camelid_core.tokenization.encoder import Encoder

SectionT = TypeVar("SectionT", bound=ExportSection)
Finish = Callable[[Path, ExportSection, "ExportResult"], object]
"""Writes prompting files, card and manifest beside what an exporter wrote to a directory, with its own section."""


@dataclass(frozen=True, slots=True)
class ExportEstimate:
    """What an export takes, before it starts: bytes of the result, of other disk space and of memory while it is
    written, and seconds; None where nobody can say. `refusal` is why it cannot be done here, as one sentence; `note` is
    what a person should know before it starts."""

    size: int
    memory: int
    scratch: int = 0
    seconds: float | None = None
    refusal: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class ExportContext:
    """What an exporter works with. `output` exists and is empty; `task` takes progress and stop requests, and has the
    directories of earlier attempts; `encoder` and `contract` are how the model is prompted. An exporter that makes
    several models calls `finish` with the directory of each, which must be below `output` in the end: it writes what
    the caller writes for a single one."""

    output: Path
    task: TaskContext
    host: Host
    encoder: Encoder
    contract: TemplateContract
    finish: Finish

    def say(self, text: str) -> None:
        """Tell the person, in the job's log."""
        self.task.emit("log", text=text)

    def progress(self, done: int, total: int, unit: str, what: str) -> None:
        """Report progress. Raises Interrupted: a stop was requested."""
        from camelid_train.monitoring.stop_rules import raise_if_stop_requested

        raise_if_stop_requested(self.task)
        self.task.emit("progress", done=done, total=total, unit=unit, what=what)


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What the manifest keeps of an export: `metrics` that were measured, and `parameters` beside the section's own,
    such as the hash of the calibration rows. `parts` says that `output` holds several models, each in a directory of
    its own: what lies beside them is a card and a manifest of all."""

    metrics: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    parts: bool = False


class Exporter(ABC, Generic[SectionT]):
    """Writes a model in another format.

    `name` is what `--to` takes and the section's `type`; `kind` is the kind of artefact that comes out. `whole` says
    that it takes whole models only: an adapter is merged with its base before; else it is given the adapter as it is.
    `gguf` says that it takes GGUF files, and nothing else. `prompting` says that the result is prompted through
    Transformers' files: tokenizer, chat template and generation settings are written beside what `export` wrote.
    """

    name: str
    help: str
    config: type[SectionT]
    kind: ArtefactKind
    whole: bool = True
    gguf: bool = False
    prompting: bool = True

    @abstractmethod
    def estimate(self, source: ResolvedModel, section: SectionT) -> ExportEstimate:
        """Read from headers alone, in a moment. For an adapter that will be merged it is asked about the base."""

    @abstractmethod
    def export(self, source: ResolvedModel, section: SectionT, context: ExportContext) -> ExportResult:
        """Write the files of the format into `context.output`; card and manifest are written by the caller.

        Raises:
            ModelError: this model cannot be had in this format.
            Interrupted: a stop was requested.
        """

    @abstractmethod
    def load_line(self, path: str, section: SectionT) -> str:
        """The line to type, or to write in Python, that loads the result at `path`."""

    def choices(self, source: ResolvedModel) -> Sequence[SectionT]:
        """What a page offers of this format for such a model, each by its `suffix`."""
        return [self.config.model_validate({})]

    def suffix(self, section: SectionT) -> str:
        """What is added to the source's name for the result's: `q4_k_m`."""
        return self.name


def exporters() -> Registry[Exporter[Any]]:
    """Every installed exporter by name."""
    return load_host().registry("camelid_exporters")


def exporter_of(section: ExportSection) -> Exporter[Any]:
    return exporters()[section.type]
