"""The launcher: starts the processes of a run, relays their events, and raises the error of the one that failed.

Knows torch's elastic agent (torchrun), which starts and watches them, and the files between it and them:

    <attempt>/ranks/order.json      recipe and directories
                    events.jsonl    events of the local main process
                    stop            the stop request
                    <n>/log.txt     output of rank n of this machine (that of rank 0 goes to the attempt's log)
                    <n>/result.json how it ended

Knows nothing of training. They carry the attempt's mark in their environment, so whoever ends the attempt ends them.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from camelid_core.events import read_events
from camelid_core.jobs.attempt_result import AttemptResult, Outcome
from camelid_core.jobs.rendezvous import GROUP_VARIABLE
from camelid_core.models.devices import cpu_cores
from camelid_core.subprocesses import module_command
from camelid_core.tasks import Interrupted, StopRequest, TaskContext

from camelid_train.distributed.context import EVENTS, STOP, LaunchedContext

from . import failures

if TYPE_CHECKING:
    from camelid_train.config import Recipe

RANKS = "ranks"
_POLL_SECONDS = 0.1
_PORT = "29400"


def launch(recipe: Recipe, context: TaskContext) -> Mapping[str, Any]:
    """Run `recipe` in as many processes as it says; returns and raises what one process would.

    Raises:
        Interrupted: all processes saved and stopped.
        CamelidError: the error of the first process that failed.
    """
    ranks = context.directory / RANKS
    for number in range(recipe.launch.processes):
        (ranks / str(number)).mkdir(parents=True, exist_ok=True)
    LaunchedContext.write(ranks, recipe.model_dump(mode="json"), context)
    with ThreadPoolExecutor(1, "launch") as pool:
        running = pool.submit(_run_agent, recipe, context.directory)
        try:
            _relay_until_done(running, ranks, context)
        except BaseException:
            _kill_children()  # the agent then sees them gone, and its thread ends
            raise
    return _summary(running, ranks, recipe.launch.processes)


def _relay_until_done(running: Future[None], ranks: Path, context: TaskContext) -> None:
    """Relay events and stop requests until all processes have ended."""
    requested: StopRequest = ""
    offset = 0
    over = False
    while not over:
        over = running.done()  # first: what was written before the end is read after it
        events, offset = read_events(ranks / EVENTS, offset)
        for event in events:
            context.emit(event.pop("kind"), **{name: value for name, value in event.items() if name != "time"})
        now = context.stop_requested()
        if now != requested:
            _write_atomically(ranks / STOP, now)
            requested = now
        if not over:
            time.sleep(_POLL_SECONDS)


def _run_agent(recipe: Recipe, directory: Path) -> None:
    """Run the elastic agent. It runs beside the main thread, which keeps the attempt's own signal handlers."""
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from .rank_logs import RankLogs

    section = recipe.launch
    logging.getLogger("torch.distributed.elastic").setLevel(logging.ERROR)  # that it handles no signals here is meant
    environment = {
        "OMP_NUM_THREADS": str(max(1, cpu_cores() // section.processes)),
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    for name, value in environment.items():
        os.environ.setdefault(name, value)
    config = LaunchConfig(
        min_nodes=section.nodes,
        max_nodes=section.nodes,
        nproc_per_node=section.processes,
        logs_specs=RankLogs(),
        run_id=os.environ.get(GROUP_VARIABLE, "camelid"),
        max_restarts=0,
        **_rendezvous(section.nodes),
    )
    python, *arguments = module_command("camelid_train.launching.rank", str(directory / RANKS))
    elastic_launch(config, python)(*arguments)


def _rendezvous(nodes: int) -> dict[str, Any]:
    """The rendezvous of the processes: a free port of this machine, or the first of several nodes."""
    if nodes == 1:
        return {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "local_addr": "localhost"}
    address = f"{os.environ['MASTER_ADDR']}:{os.environ.get('MASTER_PORT', _PORT)}"
    number = {"rank": int(os.environ["NODE_RANK"])}
    return {"rdzv_backend": "static", "rdzv_endpoint": address, "rdzv_configs": number}


def _summary(running: Future[None], ranks: Path, processes: int) -> Mapping[str, Any]:
    results = [AttemptResult.read(ranks / str(number)) for number in range(processes)]
    if any(result is not None and result.how == Outcome.SAVED for result in results):
        raise Interrupted  # also where one stopped before it joined the others, which then were killed
    error = running.exception()
    if error is not None:
        raise failures.first_error(error, ranks, processes) from None
    first = results[0]
    assert first is not None, "a process that succeeded has written its result"
    return first.summary


def _kill_children() -> None:
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()


def _write_atomically(path: Path, text: str) -> None:
    staged = path.with_suffix(".tmp")
    staged.write_text(text, encoding="ascii")
    staged.replace(path)
