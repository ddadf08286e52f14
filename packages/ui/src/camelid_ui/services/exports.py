"""Exporting: what can be made of a model on this machine, and starting the jobs that make, prove and publish it.

Knows exporters through their hook, and merging, which is the first export of an adapter. Writes nothing itself.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from camelid_core.config import validate
from camelid_core.errors import CamelidError, UsageError
from camelid_core.jobs import Job
from camelid_core.json_files import object_in
from camelid_core.models.gguf import is_gguf
from camelid_core.models.resolved_model import ResolvedModel
from camelid_core.paths import artefacts_dir
from camelid_core.plugin_faults import error_sentence
from camelid_core.plugins import Host
from camelid_serve.evaluations.proof.proof_config import ProofConfig
from camelid_serve.evaluations.proof.record import PROOF
from camelid_train.export.config import ExportConfig
from camelid_train.export.export_plan import check, export_source, past_speeds
from camelid_train.export.exporter import ExportEstimate, exporter_of, exporters
from camelid_train.export.merge_config import MergeConfig
from camelid_train.publishing.publication import plan
from camelid_train.publishing.publish_config import THE_HUB, PublishConfig
from camelid_train.publishing.publish_plan import PublishPlan
from camelid_train.sections import ExportSection

from camelid_ui.field_values import non_default

from .jobs import JobService, JobView
from .merge import TASK as MERGE
from .merge import MergeService
from .merge import load_line as merged_load_line
from .models import ModelService

EXPORT, PROVE, PUBLISH = "export", "prove", "publish"
MADE = (MERGE, EXPORT)
"""Tasks whose results are models, which can be proved and published."""
MERGED = "merged"
_SHOWN = 30


@dataclass(frozen=True, slots=True)
class ExportOffer:
    """Something that can be made of a model: `key` is unique among the offers, `size` and `memory` are bytes; `seconds`
    are those of the last such export here, in proportion. `refusal` says why it cannot be made here, empty where it
    can."""

    key: str
    format: str
    help: str
    size: int = 0
    memory: int = 0
    seconds: float | None = None
    refusal: str = ""


class ExportService:
    def __init__(self, host: Host, models: ModelService, jobs: JobService, merges: MergeService) -> None:
        self.host = host
        self.models = models
        self.jobs = jobs
        self.merges = merges

    def sources(self) -> list[str]:
        """Models and adapters that something can be made of."""
        return [entry.name for entry in self.models.all() if entry.kind in ("model", "adapter", "gguf")]

    def offers(self, source: str) -> list[ExportOffer]:
        """What can be made of it, with estimates; what cannot be made here with the reason.

        Raises:
            UnknownName, ModelError: there is no such model.
        """
        resolved = self.models.resolve(source)
        merged = [self._merge_offer(source)] if resolved.adapter_dir is not None else []
        speeds = past_speeds(self.jobs.store)
        return merged + [self._offer(source, section, speeds) for section in _sections(resolved).values()]

    def start(self, source: str, keys: Sequence[str]) -> list[Job]:
        """Queue a job for each offer.

        Raises:
            UsageError: none is chosen, or one that is not offered.
            CamelidError: one cannot be made here; nothing is queued then.
        """
        if not keys:
            raise UsageError("choose at least one format.")
        sections = _sections(self.models.resolve(source))
        if unknown := [key for key in keys if key not in sections and key != MERGED]:
            raise UsageError(f"{unknown[0]!r} is not offered; there are {', '.join([MERGED, *sections])}.")
        configs = [self._config(source, sections[key]) for key in keys if key != MERGED]
        for config in configs:
            self._check(config)
        merged = [self.merges.start(MergeConfig(adapter=source))] if MERGED in keys else []
        return merged + [self.jobs.submit(EXPORT, config, config.default_name) for config in configs]

    def command(self, source: str, keys: Sequence[str]) -> str:
        """The same as command lines.

        Raises:
            UnknownName, ModelError: there is no such model.
        """
        return "\n".join(self._commands(source, keys))

    def all(self) -> list[JobView]:
        """Merges, exports, proofs and publications, the newest first."""
        views = [view for task in (*MADE, PROVE, PUBLISH) for view in self.jobs.all(task, _SHOWN)]
        return sorted(views, key=lambda view: view.job.id, reverse=True)[:_SHOWN]

    def can_follow(self, job: Job) -> bool:
        """Whether what a job made is there, to be proved or published."""
        return job.task in MADE and bool(job.published) and Path(str(job.published)).is_dir()

    def prove(self, job_id: int) -> Job:
        """Queue a comparison of what a job made with what it was made of; the result goes into it.

        Raises:
            UsageError: the job made nothing.
        """
        job = self._made_by(job_id)
        source = job.config["adapter"] if job.task == MERGE else job.config["source"]
        config = ProofConfig(source=source, export=str(job.published), record=True)
        return self.jobs.submit(PROVE, config, config.default_name)

    def proof(self, job: Job) -> dict[str, Any] | None:
        """The proof of what a job made, or that a proof made; None where there is none."""
        if not job.published or job.task not in (*MADE, PROVE):
            return None
        return object_in(Path(job.published) / PROOF) or None

    def publication(self, job_id: int, to: str, name: str = "") -> PublishPlan:
        """What publishing would do: files, cards, licences, warnings. Nothing is written, and nothing leaves.

        Raises:
            CamelidError: what was given cannot be published, and why; to the Hub without `hf auth login` for one.
        """
        return plan(self._publish_config(job_id, to, name))

    def publish(self, job_id: int, to: str, name: str = "") -> Job:
        """Queue a publication. The job makes the plan anew, and refuses what cannot be done before anything leaves.

        Raises:
            CamelidError: the job made nothing, or a setting does not fit.
        """
        config = self._publish_config(job_id, to, name)
        return self.jobs.submit(PUBLISH, config, config.default_name)

    def load_line(self, job: Job) -> str:
        """How to load what a job made."""
        if job.task == MERGE:
            return merged_load_line(str(job.published))
        section = ExportConfig.model_validate(job.config).to
        return exporter_of(section).load_line(str(job.published), section)

    def _publish_config(self, job_id: int, to: str, name: str) -> PublishConfig:
        values = {"artefacts": [str(self._made_by(job_id).published)], "to": to.strip(), "name": name.strip()}
        config = validate(PublishConfig, values, "the settings").with_absolute_paths()
        if config.to == THE_HUB:
            _check_login()
        return config

    def _made_by(self, job_id: int) -> Job:
        job = self.jobs.show(job_id).job
        if not self.can_follow(job):
            raise UsageError(f"job {job_id} has made no model, or it was removed; choose one that has.")
        return job

    def _merge_offer(self, source: str) -> ExportOffer:
        offer = ExportOffer(MERGED, MERGED, "Base and adapter as one model.")
        try:
            estimate = self.merges.estimate(MergeConfig(adapter=source))
        except CamelidError as problem:
            return replace(offer, refusal=str(problem))
        refusal = "" if estimate.fits else "there is not enough disk space."
        return replace(offer, size=estimate.size, memory=estimate.memory, refusal=refusal)

    def _offer(self, source: str, section: ExportSection, speeds: Mapping[str, float]) -> ExportOffer:
        exporter = exporter_of(section)
        key, config = exporter.suffix(section), self._config(source, section)
        try:
            estimate = self._check(config, speeds)
        except CamelidError as problem:
            return ExportOffer(key, exporter.name, exporter.help, refusal=str(problem))
        except (
            Exception,
            SystemExit,
        ) as problem:  # a plugin's exporter that fails must not take the others' offers along
            return ExportOffer(key, exporter.name, exporter.help, refusal=error_sentence(problem))
        return ExportOffer(key, exporter.name, exporter.help, estimate.size, estimate.memory, estimate.seconds)

    def _check(self, config: ExportConfig, speeds: Mapping[str, float] | None = None) -> ExportEstimate:
        artefacts_dir().mkdir(parents=True, exist_ok=True)
        return check(config, export_source(config, self.host), artefacts_dir(), speeds)

    def _config(self, source: str, section: ExportSection) -> ExportConfig:
        return ExportConfig(source=source, to=section)

    def _commands(self, source: str, keys: Sequence[str]) -> Iterator[str]:
        sections = _sections(self.models.resolve(source))
        for key in keys:
            if key == MERGED:
                yield shlex.join(["camelid", "merge", source])
            elif key in sections:
                settings = [f"{name}={value}" for name, value in non_default(sections[key]).items() if name != "type"]
                yield shlex.join(["camelid", "export", source, "--to", sections[key].type, *settings])


def _check_login() -> None:
    """Raise UsageError unless a job can tell the Hub who publishes: it is given no secret variables, and a token never
    goes into the job table."""
    from huggingface_hub.constants import HF_HOME

    if not Path(HF_HOME, "token").is_file():
        raise UsageError(
            "a job publishes with the token of `hf auth login` alone, and there is none on the machine of this page: "
            "type that first. HF_TOKEN is not passed on to jobs; `camelid publish` in a terminal takes it."
        )


def _sections(resolved: ResolvedModel) -> dict[str, ExportSection]:
    """What is offered for a model, by key: formats made of GGUF files, of adapters, or of whole models."""
    takers = [
        exporter
        for exporter in exporters()
        if exporter.gguf == is_gguf(resolved.base) and (exporter.whole or resolved.adapter_dir is not None)
    ]
    return {exporter.suffix(section): section for exporter in takers for section in exporter.choices(resolved)}
