"""Batch prediction: a preview of the prompts, starting a job, and its rows as they come.

Knows inputs and where the answers of a job's attempts are. Generates nothing itself.
"""

from __future__ import annotations

import functools
import re
import secrets
import shlex
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from camelid_core import staging
from camelid_core.errors import CamelidError, DataError, UsageError
from camelid_core.file_permissions import PRIVATE_DIRECTORY_MODE, PRIVATE_FILE_MODE, make_private_directory
from camelid_core.jobs import Job
from camelid_core.jobs.run_directories import attempts
from camelid_core.paths import validated_path
from camelid_core.plugins import Host
from camelid_core.readers import Columns
from camelid_serve.config import PredictConfig
from camelid_serve.engine_spec import parse_engine_spec
from camelid_serve.predict.inputs import PREDICTIONS, InputRow, InputSummary, input_of, open_input
from camelid_serve.predict.prediction_rows import model_labels, model_names
from camelid_serve.predict.result_columns import renaming_note
from camelid_serve.predict.task import WORK

from camelid_ui.field_values import InvalidFields, overrides

from .jobs import JobService, JobView
from .models import ModelService, TokenView
from .prediction_rows import PublishedRows, RunningRows
from .prediction_table import PredictionPage, RowSelection

TASK = "predict"
_PREVIEW_ROWS = 20
"""Rows whose columns are offered for the column mapping."""
_CACHED_JOBS = 8
"""Jobs whose row tables are kept in memory; a million rows take some twenty megabytes."""

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class InputPreview:
    """An input's first rows. `prompts` has the prompt of each, or why there is none; `columns` are a file's, to be
    mapped; `referenced` says how many rows have a reference answer to score against; `problem` why no row has a prompt
    with these settings; `notes` which columns take no part, and which of the result get another name."""

    rows: int
    faulty: int
    prompts: Sequence[TokenView | str]
    columns: Sequence[str] = ()
    referenced: int = 0
    problem: str = ""
    notes: Sequence[str] = ()


class PredictionService:
    def __init__(self, host: Host, models: ModelService, jobs: JobService) -> None:
        self.host = host
        self.models = models
        self.jobs = jobs
        self._lock = threading.Lock()
        self._sources: dict[int, tuple[Any, Any]] = {}

    def preview(
        self,
        source: str,
        model: str,
        template: str = "",
        columns: str = "",
        reference: str = "",
        limit: int | None = None,
        count: int = 3,
        suffixes: Sequence[str] = (),
        prefill: str = "",
        continue_answers: bool = False,
    ) -> InputPreview:
        """Raises DataError, UnknownName, UsageError, ModelError: the input, mapping, suffixes or model is of no use."""
        found = input_of(
            PredictConfig(
                input=_required_input(source), columns=columns, reference=reference, suffixes=list(suffixes),
                prefill=prefill, continue_answers=continue_answers,
            )
        )  # fmt: skip
        first = list(found.rows(min(_PREVIEW_ROWS, limit or _PREVIEW_ROWS)))
        names = list(dict.fromkeys(name for row in first for name in row.fields)) if found.path else []
        try:
            survey = _survey(
                _required_input(source), columns, reference, continue_answers, limit, _file_version(source)
            )
        except DataError as error:
            if not names:
                raise
            return InputPreview(0, 0, [], names, problem=str(error))
        prompts = [self._prompt(row, model, template) for row in first[:count]]
        notes = [*found.notes(), *filter(None, [renaming_note(survey.columns)])]
        return InputPreview(survey.rows, survey.invalid, prompts, names, survey.with_gold, notes=notes)

    def keep_upload(self, upload: str) -> Path:
        """Copy an uploaded file to a permanent place, so that a job can still read it tomorrow."""
        source = Path(upload)
        place = self.jobs.home / "uploads" / secrets.token_hex(6)
        make_private_directory(place.parent, self.jobs.home)
        name = f"{safe_stem(source.stem)}{source.suffix.lower()}"
        with staging.directory(place, PRIVATE_DIRECTORY_MODE) as staged:
            Path(shutil.copyfile(source, staged / name)).chmod(PRIVATE_FILE_MODE)
            return staged.rename(place) / name

    def start(self, config: PredictConfig, name: str = "", key: str | None = None) -> Job:
        """Queue the job.

        Raises:
            Invalid: naming the field.
        """
        for path, check in (
            ("model", lambda: self.models.resolve(config.model)),
            ("input", lambda: open_input(_required_input(config.input))),
            ("columns", lambda: open_input(config.input, config.columns)),
            ("suffixes", lambda: open_input(config.input, config.columns).with_suffixes(config.suffixes)),
            ("prefill", lambda: input_of(config)),
            ("also", lambda: [self.models.resolve(name) for name in model_labels(model_names(config)).values()]),
            ("template", lambda: self.models.template(config.model, config.template)),
            ("engine", lambda: parse_engine_spec(self.host.registry("camelid_engines"), config.engine)),
        ):
            try:
                check()
            except CamelidError as error:
                raise InvalidFields(str(error), {path: str(error)}) from None
        return self.jobs.submit(TASK, config, name, key)

    def command(self, config: PredictConfig) -> str:
        rest = config.model_copy(update={"model": PredictConfig.model_fields["model"].default, "input": ""})
        changed = [part for part in overrides(rest) if not part.startswith("input=")]
        return shlex.join(["camelid", "predict", config.model, config.input, *changed])

    def all(self) -> list[JobView]:
        return self.jobs.all(TASK, 20)

    def page(self, job_id: int, selection: RowSelection = "all", start: int = 0) -> PredictionPage:
        """A page of rows.

        Raises:
            JobError: no such job.
            DataError: the result is damaged.
        """
        found = self.summary(job_id)
        source = self._source(job_id)
        if source is None or not found.count:
            return found
        config = self._config(job_id)
        mapping = Columns.parse(config.columns, needs_output=False) if config.columns else Columns()
        return replace(
            found,
            rows=source.rows(selection, start),
            start=start,
            matching=source.table.matching(selection),
            reference=config.reference,
            question=mapping.instruction,
            columns=source.columns,
        )

    def summary(self, job_id: int) -> PredictionPage:
        """The same without rows. Raises as `page` does."""
        source = self._source(job_id)
        if source is None:
            return PredictionPage()
        table = source.table
        return PredictionPage(
            table.count,
            table.failed,
            means=table.means,
            differences=table.differences if source.finished else {},
            finished=source.finished,
        )

    def lines(self, job_id: int) -> Iterator[bytes]:
        """The rows so far as JSON Lines, to download, piece by piece. Raises as `page` does."""
        source = self._source(job_id)
        return source.lines() if source is not None else iter(())

    def _config(self, job_id: int) -> PredictConfig:
        return PredictConfig.model_validate(dict(self.jobs.store.get(job_id).config))

    def _source(self, job_id: int) -> PublishedRows | RunningRows | None:
        """A job's rows, cached for the next call; None where its input is gone or has changed, which the job itself
        reports."""
        job = self.jobs.store.get(job_id)
        final = Path(job.published) / PREDICTIONS if job.published else None
        if final is not None and final.is_file():
            found = final.stat()
            return self._cached_source(job_id, (final, found.st_mtime_ns, found.st_size), lambda: PublishedRows(final))
        directories = tuple(path for path in attempts(self.jobs.home, job_id) if (path / WORK).is_file())
        try:
            source = self._cached_source(job_id, directories, lambda: _running_rows(self._config(job_id), directories))
            source.refresh()
        except CamelidError:
            return None
        return source

    def _cached_source(self, job_id: int, version: object, open_it: Callable[[], S]) -> S:
        with self._lock:
            known, source = self._sources.pop(job_id, (None, None))
            if known != version:
                source = open_it()
            self._sources[job_id] = (version, source)
            while len(self._sources) > _CACHED_JOBS:
                self._sources.pop(next(iter(self._sources)))
            return source

    def _prompt(self, row: InputRow, model: str, template: str) -> TokenView | str:
        if row.error:
            return row.error
        try:
            return self.models.prompt(model, row.messages, template)
        except CamelidError as error:
            return str(error)


def _required_input(source: str) -> str:
    if not source.strip():
        raise UsageError("Choose a file first.")
    return source.strip()


def _file_version(source: str) -> tuple[float, int]:
    """Changes when the file does."""
    path = validated_path(source.strip(), "input")
    if not path.is_file():
        return 0.0, 0
    found = path.stat()
    return found.st_mtime, found.st_size


@functools.lru_cache(maxsize=16)
def _survey(
    source: str,
    columns: str,
    reference: str,
    continue_answers: bool,
    limit: int | None,
    _file_version: tuple[float, int],
) -> InputSummary:
    return open_input(source, columns, reference, continue_answers).summary(limit)


def _running_rows(config: PredictConfig, directories: Sequence[Path]) -> RunningRows:
    version = _file_version(config.input)
    survey = _survey(config.input, config.columns, config.reference, config.continue_answers, config.limit, version)
    return RunningRows(config, directories, survey.columns)


def safe_stem(stem: str) -> str:
    """A file name with safe characters only."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", stem).strip("-")[:60] or "rows"
