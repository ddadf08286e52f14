"""Batch predict: what the first rows will look like to the model, starting a job, and its rows as they come.

Knows files of questions and the answers of a job's attempts. Answers nothing itself.
"""

from __future__ import annotations

import json
import re
import secrets
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from camelid_core.errors import CamelidError, DataError, UsageError
from camelid_core.jobs import Job
from camelid_core.jobs.files import attempts
from camelid_core.plugins import Host
from camelid_serve.config import PredictConfig
from camelid_serve.inputs import PREDICTIONS, Row, read_rows
from camelid_serve.predict import partial

from camelid_ui.fields import Invalid, overrides

from .jobs import Jobs, JobView
from .models import Models, TokenView

TASK = "predict"


@dataclass(frozen=True, slots=True)
class Preview:
    """The file's first rows. `prompts` is what the model sees of each, or why it cannot be asked."""

    rows: int
    faulty: int
    prompts: Sequence[TokenView | str]


@dataclass(frozen=True, slots=True)
class Answers:
    """Rows of a job so far; `finished` if these are all."""

    rows: Sequence[dict[str, Any]]
    finished: bool

    @property
    def failed(self) -> int:
        return sum("error" in row for row in self.rows)


class Predictions:
    def __init__(self, host: Host, models: Models, jobs: Jobs) -> None:
        self.host = host
        self.models = models
        self.jobs = jobs

    def preview(self, path: str, model: str, template: str = "", count: int = 3) -> Preview:
        """Raises DataError, UnknownName, ModelError: the file or the model cannot be used."""
        rows = list(read_rows(_file(path)))
        if not rows:
            raise DataError(f"{Path(path).name} holds no rows.")
        faulty = sum(bool(row.error) for row in rows)
        if faulty == len(rows):
            raise DataError(f"{Path(path).name}: no row can be asked. {rows[0].error}")
        prompts = [self._prompt(row, model, template) for row in islice(rows, count)]
        return Preview(len(rows), faulty, prompts)

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
            ("input", lambda: next(iter(read_rows(_file(config.input))), None)),
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

    def answers(self, job_id: int) -> Answers:
        """Raises JobError: no such job."""
        job = self.jobs.store.get(job_id)
        final = Path(job.published) / PREDICTIONS if job.published else None
        if final is not None and final.is_file():
            with final.open(encoding="utf-8") as file:
                return Answers([json.loads(line) for line in file], finished=True)
        config = PredictConfig.model_validate(dict(job.config))
        try:
            return Answers(partial(Path(config.input), attempts(self.jobs.home, job_id), config.limit), finished=False)
        except DataError:
            return Answers([], finished=False)

    def lines(self, job_id: int) -> str:
        """The rows so far as JSON Lines, to download."""
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self.answers(job_id).rows)

    def _prompt(self, row: Row, model: str, template: str) -> TokenView | str:
        if row.error:
            return row.error
        try:
            return self.models.prompt(model, row.messages, template)
        except CamelidError as error:
            return str(error)


def _file(path: str) -> Path:
    found = Path(path).expanduser()
    if not path.strip():
        raise UsageError("Choose a file first.")
    if not found.is_file():
        raise DataError(f"{path!r} is no file on this machine.")
    return found


def safe_stem(stem: str) -> str:
    """A file's name with only what is safe in one."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", stem).strip("-")[:60] or "rows"
