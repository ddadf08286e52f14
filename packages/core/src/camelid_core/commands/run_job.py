"""How commands run a job: in the foreground, with progress, and a summary when it succeeded.

Knows jobs and terminals. Knows no task.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import typer

from camelid_core.config import Config
from camelid_core.errors import JobError, JobStopped
from camelid_core.jobs.advice import advice
from camelid_core.jobs.foreground import open_store, run_in_foreground
from camelid_core.jobs.job import Job, JobState
from camelid_core.jobs.publication import destination
from camelid_core.models.resolved_model import resolve_model
from camelid_core.models.template_choice import template_named, template_of
from camelid_core.plugins import load_host
from camelid_core.statistics import shown_values

from .notify_option import NOBODY, EndListeners
from .output import ProgressPrinter

STOPPED_KINDS = ("cancelled", "paused", "interrupted")
"""Values of `error_kind` of jobs that were stopped on request."""


def run_job(task: str, config: Config, name: str, *models: str, listeners: EndListeners = NOBODY) -> Job:
    """Run a job in the foreground, with progress, and return it once it succeeded. `models` are those that it needs: a
    typing error in them or in the template is reported at once, and leaves no failed job behind.

    Raises:
        UnknownName, ModelError: there is no such model or template.
        JobError: it failed, with what went wrong and how to resume.
        JobStopped: a person or the system stopped it.
    """
    host, template = load_host(), getattr(config, "template", "")
    for model in models:
        resolved = resolve_model(model, host)
        if template:
            template_of(resolved, host, template)
    if template and not models:
        template_named(template, host)
    destination(config)
    printer = ProgressPrinter()
    try:
        job = run_in_foreground(task, config, name, printer, on_queued=listeners.queued)
    finally:
        printer.close()
    listeners.ended(open_store(), job)
    if job.state is not JobState.SUCCEEDED:
        text = " ".join(filter(None, (job.error or f"job {job.id} ended as {job.state}.", advice(job))))
        raise JobStopped(text) if job.error_kind in STOPPED_KINDS else JobError(text)
    return job


def print_summary(job: Job, as_json: bool, **more: Any) -> None:
    """Print the job's summary: one line of JSON, or a line per value."""
    summary: Mapping[str, Any] = {**job.summary, **more, "artefact": job.published}
    if as_json:
        typer.echo(json.dumps({**summary, "job": job.id}, ensure_ascii=False))
        return
    for key, value in _flat(summary):
        typer.echo(f"{key:18} {value:,.4g}" if isinstance(value, float) else f"{key:18} {value}")


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each value with its path; an estimate is one value, and shown with its interval."""
    for key, value in shown_values(values):
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
