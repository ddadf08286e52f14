"""`camelid worker`: run queued jobs until stopped.

Knows options and signals. Everything else is `camelid_core.jobs.worker`.
"""

from __future__ import annotations

import typer

from camelid_core.errors import UsageError
from camelid_core.jobs.foreground import open_store
from camelid_core.jobs.job_threads import MOST_JOBS
from camelid_core.jobs.stop_signals import StopSignal, stop_on_signals
from camelid_core.jobs.this_machine import this_machine
from camelid_core.jobs.worker import Worker
from camelid_core.notifications.delivery import Notifier, announce

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def worker(
    once: bool = typer.Option(False, "--once", help="Run one queued job, if there is one, and leave."),
    jobs: str = typer.Option(
        "auto", help="Jobs at a time, as far as this machine has room: auto (as many as fit), or a number."
    ),
    lease: float = typer.Option(30.0, min=1.0, help="Seconds without a sign of life after which a job is lost."),
) -> None:
    """Run queued jobs side by side as they fit. Ctrl-C lets running jobs save; they are queued again for the next
    worker."""
    store = open_store()
    runner = Worker(store, lease_seconds=lease, heartbeat_seconds=lease / 6, jobs=_number(jobs), machine=this_machine())
    with stop_on_signals(StopSignal()) as stop:
        if not once:
            with Notifier(store):
                runner.run_forever(stop)
            return
        job = runner.run_once(stop)
        announce(store)
    typer.echo(
        "No job is queued." if job is None else f"Job {job.id} {job.state}. {job.published or job.error}".rstrip()
    )


def _number(jobs: str) -> int | None:
    if jobs == "auto":
        return None
    if not jobs.isdecimal() or not 1 <= int(jobs) <= MOST_JOBS:
        raise UsageError(f"--jobs is {jobs!r}; give auto, or a number from 1 to {MOST_JOBS}.")
    return int(jobs)
