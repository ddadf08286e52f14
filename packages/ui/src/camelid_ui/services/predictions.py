"""Batch predict: what the first rows will look like to the model, starting a job, and its rows as they come.

Knows inputs and where the answers of a job's attempts lie. Answers nothing itself.
"""

from __future__ import annotations

import functools
import json
import re
import secrets
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from camelid_core.errors import CamelidError, DataError, UsageError
from camelid_core.jobs import Job
from camelid_core.jobs.files import attempts
from camelid_core.plugins import Host
from camelid_core.readers import Columns
from camelid_serve.config import PredictConfig
from camelid_serve.inputs import PREDICTIONS, Row, Survey, open_input
from camelid_serve.jsonlines import line_of
from camelid_serve.predict import work_so_far
from camelid_serve.predictions import asked, labels, so_far

from camelid_ui.fields import Invalid, overrides

from .jobs import Jobs, JobView
from .models import Models, TokenView
from .predicted import Answers, Numbered, Showing, look_at

TASK = "predict"
_LOOKED_AT = 20
"""Rows whose columns are offered for a mapping."""


@dataclass(frozen=True, slots=True)
class Preview:
    """An input's first rows. `prompts` is what the model sees of each, or why it cannot be asked; `columns` are a
    file's, to be mapped; `referenced` says how many rows have an answer to score against; `problem` why none of the
    rows can be asked as things stand."""

    rows: int
    faulty: int
    prompts: Sequence[TokenView | str]
    columns: Sequence[str] = ()
    referenced: int = 0
    problem: str = ""


class Predictions:
    def __init__(self, host: Host, models: Models, jobs: Jobs) -> None:
        self.host = host
        self.models = models
        self.jobs = jobs

    def preview(
        self, source: str, model: str, template: str = "", columns: str = "", reference: str = "", count: int = 3
    ) -> Preview:
        """Raises DataError, UnknownName, UsageError, ModelError: the input, mapping or model cannot be used."""
        found = open_input(_named(source), columns, reference)
        first = list(found.rows(_LOOKED_AT))
        names = list(dict.fromkeys(name for row in first for name in row.fields)) if found.path else []
        try:
            survey = _survey(_named(source), columns, reference, _stamp(source))
        except DataError as error:
            if not names:
                raise
            return Preview(0, 0, [], names, problem=str(error))
        prompts = [self._prompt(row, model, template) for row in first[:count]]
        return Preview(survey.rows, survey.bad, prompts, names, survey.referenced)

    def keep(self, upload: str) -> Path:
        """Copy an uploaded file to where it stays, so that a job can still read it tomorrow."""
        source = Path(upload)
        place = self.jobs.home / "uploads" / secrets.token_hex(6)
        place.mkdir(parents=True, mode=0o700)
        return Path(shutil.copyfile(source, place / f"{safe_stem(source.stem)}{source.suffix.lower()}"))

    def start(self, config: PredictConfig, name: str = "", key: str | None = None) -> Job:
        """Queue the job.

        Raises:
            Invalid: naming the field.
        """
        for path, check in (
            ("model", lambda: self.models.resolve(config.model)),
            ("input", lambda: open_input(_named(config.input))),
            ("columns", lambda: open_input(config.input, config.columns)),
            ("also", lambda: [self.models.resolve(name) for name in labels(asked(config)).values()]),
        ):
            try:
                check()
            except CamelidError as error:
                raise Invalid(str(error), {path: str(error)}) from None
        return self.jobs.submit(TASK, config, name, key)

    def command(self, config: PredictConfig) -> str:
        rest = config.model_copy(
            update={"model": PredictConfig.model_fields["model"].default, "input": "", "output": ""}
        )
        changed = [part for part in overrides(rest) if not part.startswith("input=")]
        words = [
            "camelid",
            "predict",
            config.model,
            config.input,
            *changed,
            "--out",
            config.output or "predictions.jsonl",
        ]
        return shlex.join(words)

    def all(self) -> list[JobView]:
        return self.jobs.all(TASK, 20)

    def answers(self, job_id: int, showing: Showing = "all") -> Answers:
        """Raises JobError: no such job."""
        rows, finished = self._rows(job_id)
        try:
            config = PredictConfig.model_validate(dict(self.jobs.store.get(job_id).config))
            mapping = Columns.parse(config.columns, answered=False) if config.columns else Columns()
            return look_at(rows, showing, finished, config.reference, mapping.instruction)
        except CamelidError:  # the input is gone or has changed; the job says so itself
            return Answers()

    def lines(self, job_id: int) -> bytes:
        """The rows so far as JSON Lines, to download."""
        rows, _ = self._rows(job_id)
        return b"".join(line_of(row) for _, row in rows)

    def _rows(self, job_id: int) -> tuple[Iterator[Numbered], bool]:
        """Rows with their numbers, and whether they are all."""
        job = self.jobs.store.get(job_id)
        final = Path(job.published) / PREDICTIONS if job.published else None
        if final is not None and final.is_file():
            return _finished(final), True
        config = PredictConfig.model_validate(dict(job.config))
        work = work_so_far(config, attempts(self.jobs.home, job_id))
        if not any(work.values()):
            return iter(()), False
        return so_far(open_input(config.input, config.columns, config.reference).rows(config.limit), work), False

    def _prompt(self, row: Row, model: str, template: str) -> TokenView | str:
        if row.error:
            return row.error
        try:
            return self.models.prompt(model, row.messages, template)
        except CamelidError as error:
            return str(error)


def _named(source: str) -> str:
    if not source.strip():
        raise UsageError("Choose a file first.")
    return source.strip()


def _stamp(source: str) -> tuple[float, int]:
    """Tells whether a file has changed since."""
    path = Path(source.strip()).expanduser()
    if not path.is_file():
        return 0.0, 0
    found = path.stat()
    return found.st_mtime, found.st_size


@functools.lru_cache(maxsize=16)
def _survey(source: str, columns: str, reference: str, _stamp: tuple[float, int]) -> Survey:
    return open_input(source, columns, reference).survey()


def _finished(path: Path) -> Iterator[Numbered]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            yield number, json.loads(line)


def safe_stem(stem: str) -> str:
    """A file's name with only what is safe in one."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", stem).strip("-")[:60] or "rows"
