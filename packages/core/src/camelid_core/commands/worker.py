"""`camelid worker`: run queued jobs until stopped, of this machine or of a server that it joins.

Knows options and signals. Everything else is `camelid_core.jobs.worker` and `camelid_core.machines.agent`.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from camelid_core.errors import MissingPackage, UsageError
from camelid_core.jobs.foreground import open_store
from camelid_core.jobs.job_threads import MOST_JOBS
from camelid_core.jobs.stop_signals import StopSignal, stop_on_signals
from camelid_core.jobs.this_machine import this_machine
from camelid_core.jobs.worker import Worker
from camelid_core.notifications.delivery import Notifier, announce

app = typer.Typer(add_completion=False, rich_markup_mode=None)
TOKEN_VARIABLE = "CAMELID_JOIN_TOKEN"  # noqa: S105 - the name of a variable


@app.command()
def worker(
    once: bool = typer.Option(False, "--once", help="Run one queued job, if there is one, and leave."),
    jobs: str = typer.Option(
        "auto", help="Jobs at a time, as far as this machine has room: auto (as many as fit), or a number."
    ),
    lease: float = typer.Option(30.0, min=1.0, help="Seconds without a sign of life after which a job is lost."),
    join: Annotated[
        str, typer.Option(help="Address of a server whose jobs to run; `camelid machines add` there prints it.")
    ] = "",
    token: Annotated[
        str,
        typer.Option(
            help="This machine's token for --join. Others on this machine can read it in the list of processes: "
            f"better set {TOKEN_VARIABLE}, give --token-file, or type it when asked."
        ),
    ] = "",
    token_file: Annotated[Path | None, typer.Option(help="A file with the token for --join alone in it.")] = None,
) -> None:
    """Run queued jobs side by side as they fit. Ctrl-C lets running jobs save; they are queued again for the next
    worker."""
    if join:
        _run_agent(join, _token(token, token_file), once)
        return
    if token or token_file:
        raise UsageError("--token and --token-file belong to --join ADDRESS.")
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


def _run_agent(join: str, token: str, once: bool) -> None:
    if find_spec("httpx") is None:
        raise MissingPackage("--join needs httpx, which is not here; pip install 'camelid-core[machines]'.")
    from camelid_core.machines.agent import join_server
    from camelid_core.machines.join_address import JoinAddress

    address = JoinAddress.parse(join)
    with stop_on_signals(StopSignal()) as stop:
        agent = join_server(address, token, typer.echo, stop, wait=not once)
        try:
            if not once:
                agent.run_forever(stop)
            elif agent.run_once(stop) is None:
                typer.echo("No job is queued for this machine.")
        finally:
            agent.close()


def _token(given: str, file: Path | None) -> str:
    """The token, which processes started from here do not get."""
    from_environment = os.environ.pop(TOKEN_VARIABLE, "")
    if given:
        return given
    if file is not None:
        try:
            return file.read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            raise UsageError(f"--token-file {str(file)!r} cannot be read: {error}.") from None
    if from_environment:
        return from_environment
    if not sys.stdin.isatty():
        raise UsageError(f"--join needs the machine's token: set {TOKEN_VARIABLE} or give --token-file FILE.")
    return str(typer.prompt("Token", hide_input=True))
