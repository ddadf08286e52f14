"""`camelid worker`: run queued jobs until stopped.

Knows options and signals. Everything else is `camelid_core.jobs.worker`.
"""

from __future__ import annotations

import typer

from camelid_core.jobs.foreground import open_store
from camelid_core.jobs.stop_signals import StopSignal, stop_on_signals
from camelid_core.jobs.worker import Worker
from camelid_core.notifications.delivery import Notifier, announce

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def worker(
    once: bool = typer.Option(False, "--once", help="Run one queued job, if there is one, and leave."),
    lease: float = typer.Option(30.0, min=1.0, help="Seconds without a sign of life after which a job is lost."),
) -> None:
    """Run queued jobs. Ctrl-C lets the running job save; it is queued again for the next worker."""
    store = open_store()
    runner = Worker(store, lease_seconds=lease, heartbeat_seconds=lease / 6)
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
