"""`camelid jobs`: list, show, follow, pause, cancel, finish, retry and delete jobs.

Knows how jobs look as text. Everything else is `camelid_core.jobs`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from camelid_core.errors import JobError, JobStopped, UsageError
from camelid_core.events import read_events
from camelid_core.jobs.admission import assignment_in_words, needs_in_words
from camelid_core.jobs.advice import advice
from camelid_core.jobs.deletion import delete as remove
from camelid_core.jobs.foreground import open_store, run_queued_job
from camelid_core.jobs.job import ACTIVE, ENDED, Job, JobState
from camelid_core.jobs.presence import live_workers
from camelid_core.jobs.run_directories import EVENTS, LOG, attempts
from camelid_core.jobs.start_conditions import reasons_to_wait, waits_for
from camelid_core.jobs.store import JobStore

from .jobs_prune import prune_jobs
from .output import print_rows
from .run_job import STOPPED_KINDS

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
_MAX_ENDED_JOBS = 20
_POLL_SECONDS = 0.5
_USUAL = (("earliest", 0.0), ("nodes", 1), ("leader", 0), ("rank", 0))
_RENEWAL_SECONDS = 2.0
_NO_WORKER = "No worker is running; `camelid worker` starts one."

JobId = Annotated[int, typer.Argument(metavar="ID", help="The job's number, from `camelid jobs list`.", min=1)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


app.command("prune")(prune_jobs)


@app.callback()
def _jobs() -> None:
    """List, follow, cancel and retry jobs."""


@app.command("list")
def list_jobs(
    as_json: AsJson = False,
    everything: Annotated[bool, typer.Option("--all", help="All jobs, not only the newest ones.")] = False,
) -> None:
    """Jobs that are queued or running, and those that ended last."""
    store = _open()
    jobs = store.list(limit=sys.maxsize) if everything else _current(store)
    if as_json:
        print_rows([asdict(job) for job in jobs], as_json=True)
    else:
        waits = reasons_to_wait(store, jobs)
        print_rows([_row(job, waits[job.id]) for job in jobs], as_json=False, empty="There are no jobs.")


@app.command()
def show(job_id: JobId, as_json: AsJson = False) -> None:
    """Everything known of one job."""
    store = _open()
    job = store.get(job_id)
    values: dict[str, Any] = asdict(job)
    newest = attempts(store.path.parent, job_id)[:1]
    values["directory"] = str(newest[0]) if newest else ""
    events = read_events(newest[0] / EVENTS)[0] if newest else []
    values["progress"] = next((event for event in reversed(events) if event["kind"] == "progress"), {})
    values["next"] = advice(job)
    values["waits"] = waits_for(store, job)
    values["members"] = [_member(store, node) for node in store.nodes(job) if node.leader]
    if as_json:
        typer.echo(json.dumps(values, indent=2, ensure_ascii=False))
        return
    values["needs"] = "" if job.needs is None else needs_in_words(job.needs)
    values["assigned"] = "" if job.assigned is None else assignment_in_words(job.assigned)
    for name, value in values.items():
        if value not in ("", None, {}, (), []) and (name, value) not in _USUAL:
            typer.echo(f"{name:14} {_text(name, value)}")


@app.command()
def logs(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    node: Annotated[int, typer.Option(min=0, help="Of a run on several nodes: 0 is the first.")] = 0,
) -> None:
    """The log of the newest attempt."""
    store = _open()
    nodes = store.nodes(store.get(job_id))
    if node >= len(nodes):
        there = f"has nodes 0 to {len(nodes) - 1}" if len(nodes) > 1 else "runs on one node"
        raise UsageError(f"--node is {node}, and job {job_id} {there}.")
    _follow(store, nodes[node].id, follow)


@app.command()
def cancel(job_id: JobId) -> None:
    """Let the job save, then end it."""
    _print_request(_open().request(job_id, "cancel"))


@app.command()
def pause(job_id: JobId) -> None:
    """Let the job save, then keep it until `camelid jobs resume`."""
    _print_request(_open().request(job_id, "pause"))


@app.command()
def priority(
    job_id: JobId,
    number: Annotated[int, typer.Argument(help="The highest is begun first, of equals the oldest; 0 is usual.")],
) -> None:
    """Give a job that waits another priority."""
    job = _open().prioritise(job_id, number)
    typer.echo(f"Job {job.id} has priority {job.priority}.")


@app.command()
def finish(job_id: JobId) -> None:
    """Let the job end early and keep its result."""
    _print_request(_open().request(job_id, "finish"))


@app.command()
def resume(job_id: JobId) -> None:
    """Queue a paused job again; it goes on from what was saved."""
    store = _open()
    if (state := store.get(job_id).state) != JobState.PAUSED:
        raise JobError(f"Job {job_id} is {state}, not paused; `camelid jobs retry {job_id}` queues what failed again.")
    store.retry(job_id)
    _print_queued(store, job_id)


@app.command()
def retry(
    job_id: JobId, here: Annotated[bool, typer.Option("--here", help="Run it in this terminal, at once.")] = False
) -> None:
    """Queue a failed, cancelled, paused or lost job again; it resumes from what was saved."""
    store = _open()
    job = store.get(job_id)
    if job.state != JobState.QUEUED:  # a lost one may be queued again by now
        store.retry(job_id)
    if here:
        _print_end(run_queued_job(store, job_id))
        return
    _print_queued(store, job_id)


@app.command()
def delete(
    job_id: JobId,
    result: Annotated[bool, typer.Option("--result", help="Delete what it published, too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask back.")] = False,
) -> None:
    """Delete a job that has ended, with its log and checkpoints; what it published stays."""
    store = _open()
    job = store.get(job_id)
    what = f"{job.label} and its result {job.published}" if result and job.published else job.label
    if not yes and not typer.confirm(f"Delete {what}?"):
        raise typer.Exit(1)
    remove(store, job_id, result)
    typer.echo(f"Job {job_id} was deleted.")


@app.command()
def wait(job_id: JobId) -> None:
    """Wait until the job has ended; exit code 0 if it succeeded."""
    store = _open()
    hint = _NO_WORKER
    while (job := store.get(job_id)).state not in ENDED:
        if hint and job.state not in ACTIVE and not live_workers(store):
            typer.echo(hint, err=True)
            hint = ""
        time.sleep(_POLL_SECONDS)
        _sweep(store)
    _print_end(job)


@app.command()
def bundle(
    job_id: JobId,
    out: Annotated[Path | None, typer.Option(help="File to write; without it NAME.zip in this directory.")] = None,
) -> None:
    """Write an archive from which another person can run the job again: recipe, versions, data by hash, events."""
    from camelid_core.plugins import load_host

    store = _open()
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


def _open() -> JobStore:
    store = open_store()
    _sweep(store)
    return store


def _sweep(store: JobStore) -> None:
    """Take jobs from dead workers, for there may be no live worker that does. After a suspend all leases have expired:
    workers that are alive get time to renew theirs."""
    with suppress(JobError):  # a user who may only read the table sees it as it is
        if store.has_expired_lease():
            time.sleep(_RENEWAL_SECONDS)
        store.sweep_lost()


def _current(store: JobStore) -> list[Job]:
    unfinished = store.list([state for state in JobState if state not in ENDED], limit=sys.maxsize)
    return sorted(unfinished + store.list(ENDED, limit=_MAX_ENDED_JOBS), key=lambda job: job.id, reverse=True)


def _row(job: Job, waits: str) -> dict[str, str]:
    requested = f" ({job.request} asked)" if job.request and job.state not in ENDED else ""
    return {
        "id": str(job.id),
        "state": f"{job.state}{requested}",
        "task": job.task,
        "name": job.name,
        "created": _when(job.created),
        "outcome": "; ".join(filter(None, (waits, job.published or job.error))).partition("\n")[0],
    }


def _member(store: JobStore, node: Job) -> dict[str, Any]:
    newest = next(iter(attempts(store.path.parent, node.id)), None)
    return {
        "node": node.rank,
        "state": str(node.state),
        "worker": node.owner,
        "error": node.error,
        "log": str(newest / LOG) if newest else "",
    }


def _text(name: str, value: Any) -> str:
    if name == "members":
        lines = (" ".join(f"{key} {item}" for key, item in each.items() if item != "") for each in value)
        return f"\n{'':14} ".join(lines)
    if name in ("created", "started", "ended", "earliest"):
        return _when(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


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
        time.sleep(_POLL_SECONDS)
        _sweep(store)


def _print_from(log: Any, offset: int, write: Callable[[bytes], object]) -> int:
    if not log.exists():
        return 0
    with log.open("rb") as file:
        file.seek(offset if offset <= log.stat().st_size else 0)  # it was truncated meanwhile
        while block := file.read(1 << 16):
            write(block)
        return int(file.tell())


def _print_queued(store: JobStore, job_id: int) -> None:
    job = store.get(job_id)
    waits = waits_for(store, job)
    hint = "" if live_workers(store) else f" {_NO_WORKER}"
    typer.echo(f"Job {job.id} is {job.state}{f', {waits}' if waits else ''}.{hint}")


def _print_request(job: Job) -> None:
    typer.echo(f"Job {job.id} is {job.state}." if job.state in ENDED else f"Job {job.id} was asked to {job.request}.")


def _print_end(job: Job) -> None:
    parts = filter(None, (f"Job {job.id} {job.state}.", job.published or job.error, advice(job)))
    typer.echo(" ".join(parts))
    if job.state != JobState.SUCCEEDED:
        raise typer.Exit(JobStopped.exit_code if job.error_kind in STOPPED_KINDS else 1)
