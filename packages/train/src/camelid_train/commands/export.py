"""`camelid export MODEL --to FORMAT [field=value …]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer
from camelid_core.commands.output import print_values
from camelid_core.commands.run_job import print_summary, run_job
from camelid_core.config import parse_overrides, validate
from camelid_core.errors import UsageError
from camelid_core.jobs.foreground import open_store
from camelid_core.plugins import load_host

from camelid_train.export.config import ExportConfig
from camelid_train.export.exporter import exporter_of, exporters
from camelid_train.export.task_formats import TASK_FORMATS, TaskFormat

from .export_help import ExportHelp

app = typer.Typer(help="Write a model in another format.")


@app.command(cls=ExportHelp)
def export(
    source: Annotated[str, typer.Argument(help="The model, or the adapter, which is merged first.")],
    settings: Annotated[list[str] | None, typer.Argument(help="Settings of the format, as field=value.")] = None,
    to: Annotated[str, typer.Option(help="The format; below are those that are installed.")] = "",
    out: Annotated[str, typer.Option(help="Directory for the result; a plain name goes to Camelid's home.")] = "",
    plan: Annotated[bool, typer.Option("--plan", help="Estimate size, memory and time, and write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Write a model in another format. The estimate comes first: what cannot fit is refused before it starts."""
    if not to:
        names = [*TASK_FORMATS, *(each.name for each in exporters())]
        raise UsageError(f"say which format: --to {' or --to '.join(names)}.")
    if to in TASK_FORMATS:
        _run_task(TASK_FORMATS[to], source, parse_overrides(settings or []), out, plan, as_json)
        return
    run_export(source, {**parse_overrides(settings or []), "type": to}, out, plan, as_json)


def run_export(source: str, section: Mapping[str, Any], out: str, plan: bool, as_json: bool) -> None:
    """Export with the settings of `section`, whose `type` is the format, or only print the estimate."""
    values: dict[str, Any] = {"source": source, "output": out, "to": dict(section)}
    config = validate(ExportConfig, values, "the options").with_absolute_paths()
    if plan:
        _plan(config, as_json)
        return
    job = run_job("export", config, config.default_name, config.source)
    print_summary(job, as_json, load=exporter_of(config.to).load_line(str(job.published), config.to))


def _run_task(other: TaskFormat, source: str, settings: Mapping[str, Any], out: str, plan: bool, as_json: bool) -> None:
    """The same for a format that a task of its own writes."""
    values = {**settings, other.source: source, "output": out}
    given: Any = validate(other.config, values, "the options")
    config = given.with_absolute_paths()
    if plan:
        print_values(asdict(other.estimate(config)), as_json)
        return
    print_summary(run_job(other.task, config, config.default_name, getattr(config, other.source)), as_json)


def _plan(config: ExportConfig, as_json: bool) -> None:
    from camelid_core.paths import artefacts_dir

    from camelid_train.export.export_plan import check, export_source, past_speeds

    artefacts_dir().mkdir(parents=True, exist_ok=True)
    estimate = check(config, export_source(config, load_host()), artefacts_dir(), past_speeds(open_store()))
    print_values(asdict(estimate), as_json)
