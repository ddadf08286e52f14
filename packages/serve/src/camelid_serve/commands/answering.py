"""What `chat`, `predict` and `eval` share: sampling options, and saying how a job ended.

Knows the command line. Knows nothing of models.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from camelid_core.commands.output import ProgressPrinter
from camelid_core.config import Config, parse_overrides, validate
from camelid_core.errors import JobError
from camelid_core.jobs.foreground import run_in_foreground
from camelid_core.jobs.model import Job, State

from camelid_serve.engine import Sampling

ConfigT = TypeVar("ConfigT", bound=Config)


def _option(field: str) -> Any:
    return typer.Option(help=Sampling.model_fields[field].description, show_default=False)


Temperature = Annotated[float | None, _option("temperature")]
MaxNewTokens = Annotated[int | None, _option("max_new_tokens")]
Seed = Annotated[int | None, _option("seed")]


def given(**values: Any) -> dict[str, Any]:
    """What was typed: options that were not are None."""
    return {key: value for key, value in values.items() if value is not None}


def configure(cls: type[ConfigT], values: dict[str, Any], sampling: dict[str, Any], overrides: list[str]) -> ConfigT:
    """The configuration from options and `field=value` overrides.

    Raises:
        ConfigError: an unknown field or a value out of bounds.
    """
    extra = parse_overrides(overrides)
    merged = values | extra | {"sampling": sampling | extra.get("sampling", {})}
    return validate(cls, merged, "the options")


def run_job(task: str, config: Config, name: str) -> Job:
    """Run a job here, with progress, and return it once it succeeded.

    Raises:
        JobError: it did not, with what went wrong and how to go on.
    """
    printer = ProgressPrinter()
    try:
        job = run_in_foreground(task, config, name, printer)
    finally:
        printer.close()
    if job.state is not State.SUCCEEDED:
        raise JobError(job.error or f"job {job.id} ended as {job.state}.")
    return job


def report(job: Job, as_json: bool, **more: Any) -> None:
    """The job's summary: one line of JSON, or a line per fact."""
    summary: Mapping[str, Any] = {**job.summary, **more, "artefact": job.published}
    if as_json:
        typer.echo(json.dumps({**summary, "job": job.id}, ensure_ascii=False))
        return
    for key, value in summary.items():
        typer.echo(f"{key:18} {value:,.4g}" if isinstance(value, float) else f"{key:18} {value}")


def copy_file(source: Path, target: Path) -> None:
    """Copy so that readers of `target` see the old file or the whole new one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    shutil.copyfile(source, partial)
    partial.replace(target)
