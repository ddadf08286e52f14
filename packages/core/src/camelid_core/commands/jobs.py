"""`camelid jobs`: the group of commands, and those on a job's files: logs, delete, bundle.

The others are `job_listing`, `job_requests` and `job_wait`. Everything else is `camelid_core.jobs`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from camelid_core.errors import UsageError
from camelid_core.jobs.deletion import delete as remove
from camelid_core.jobs.job import ENDED
from camelid_core.jobs.run_directories import LOG, attempts
from camelid_core.jobs.store import JobStore

from .job_access import JobId, open_swept_store, wait_a_moment
from .job_listing import list_jobs, show
from .job_metrics import metrics
from .job_notify import app as notify
from .job_requests import cancel, finish, move_job, pause, priority, resume, retry
from .job_wait import wait
from .jobs_prune import prune_jobs

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def _jobs() -> None:
    """List, follow, cancel and retry jobs."""


_COMMANDS: dict[str, Callable[..., Any]] = {
    "list": list_jobs, "show": show, "wait": wait, "cancel": cancel, "pause": pause, "resume": resume,
    "finish": finish, "retry": retry, "priority": priority, "move": move_job, "prune": prune_jobs, "metrics": metrics,
}  # fmt: skip
for _name, _command in _COMMANDS.items():
    app.command(_name)(_command)
app.add_typer(notify, name="notify")


@app.command()
def logs(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    node: Annotated[int, typer.Option(help="Which node's, of a job on several.", min=0)] = 0,
) -> None:
    """The log of the newest attempt."""
    store = open_swept_store()
    nodes = store.nodes(store.get(job_id))
    if node >= len(nodes):
        there = f"has nodes 0 to {len(nodes) - 1}" if len(nodes) > 1 else "runs on one node"
        raise UsageError(f"--node is {node}, and job {job_id} {there}.")
    _follow(store, nodes[node].id, follow)


@app.command()
def delete(
    job_id: JobId,
    result: Annotated[bool, typer.Option("--result", help="Delete what it published, too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask back.")] = False,
) -> None:
    """Delete a job that has ended, with its log and checkpoints; what it published stays."""
    store = open_swept_store()
    job = store.get(job_id)
    what = f"{job.label} and its result {job.published}" if result and job.published else job.label
    if not yes and not typer.confirm(f"Delete {what}?"):
        raise typer.Exit(1)
    remove(store, job_id, result)
    typer.echo(f"Job {job_id} was deleted.")


@app.command()
def bundle(
    job_id: JobId,
    out: Annotated[Path | None, typer.Option(help="File to write; without it NAME.zip in this directory.")] = None,
) -> None:
    """Write an archive from which another person can run the job again: recipe, versions, data by hash, events."""
    from camelid_core.plugins import load_host

    store = open_swept_store()
    job = store.get(job_id)
    write = load_host().tasks[job.task].load_bundle()
    if write is None:
        raise UsageError(f"Job {job_id} is a {job.task} job; only training runs can be bundled.")
    target = out or Path(f"{job.label}.zip")
    if target.exists():
        raise UsageError(f"{str(target)!r} exists already; nothing was overwritten. Give another file with --out.")
    if not target.absolute().parent.is_dir():
        raise UsageError(f"{str(target.parent)!r} is no directory; make it, or give another file with --out.")
    typer.echo(str(write(store, job_id, target)))


def _follow(store: JobStore, job_id: int, follow: bool) -> None:
    """Print the newest attempt's log; while following, switch to the next attempt when it begins."""
    shown: tuple[object, int] = (None, 0)
    while True:
        ended = store.get(job_id).state in ENDED
        for newest in attempts(store.path.parent, job_id)[:1]:
            offset = shown[1] if shown[0] == newest else 0
            shown = newest, _print_from(newest / LOG, offset, sys.stdout.buffer.write)
        sys.stdout.flush()
        if ended or not follow:
            return
        wait_a_moment(store)


def _print_from(log: Any, offset: int, write: Callable[[bytes], object]) -> int:
    if not log.exists():
        return 0
    with log.open("rb") as file:
        file.seek(offset if offset <= log.stat().st_size else 0)  # it was truncated meanwhile
        while block := file.read(1 << 16):
            write(block)
        return int(file.tell())
