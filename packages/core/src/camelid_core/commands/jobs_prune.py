"""`camelid jobs prune`: delete jobs that ended long ago, with their logs and checkpoints.

Knows options and text. Everything else is `camelid_core.jobs.retention`.
"""

from __future__ import annotations

import re
from typing import Annotated

import typer

from camelid_core.errors import UsageError
from camelid_core.jobs.foreground import open_store
from camelid_core.jobs.job_settings import AGE
from camelid_core.jobs.retention import Prunable, Retained, prunable, prune, seconds_of

from .output import print_rows


def prune_jobs(
    older_than: Annotated[str, typer.Option(help="Those that ended so long ago: 30d, or 12h.")] = "",
    keep_last: Annotated[int | None, typer.Option(min=0, help="All but so many of the newest.")] = None,
    paused: Annotated[bool, typer.Option("--paused", help="Paused jobs as well.")] = False,
    unpublished: Annotated[
        bool, typer.Option("--unpublished", help="Also those that made a result which was not published.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, and delete nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Delete jobs that ended long ago, with their logs and checkpoints; what they published stays, and so does what
    other jobs need."""
    if not older_than and keep_last is None:
        raise UsageError("say which to delete: --older-than 30d, --keep-last 100, or both.")
    if older_than and not re.fullmatch(AGE, older_than):
        raise UsageError(f"--older-than is {older_than!r}; give a number with d or h, as 30d.")
    store = open_store()
    retained = Retained(seconds_of(older_than) if older_than else None, keep_last, not paused, not unpublished)
    found = prunable(store, retained)
    deleted = found if dry_run else prune(store, found)
    print_rows([_row(each) for each in deleted], as_json, empty="No job is to be deleted.")
    if not as_json and deleted:
        freed = sum(each.size for each in deleted) / 1e6
        words = "would be deleted, and {:,.1f} MB be freed" if dry_run else "were deleted, and {:,.1f} MB are free"
        typer.echo(f"{len(deleted)} jobs {words.format(freed)}.")


def _row(each: Prunable) -> dict[str, str | int]:
    job = each.job
    return {"id": str(job.id), "state": str(job.state), "task": job.task, "name": job.name, "bytes": each.size}
