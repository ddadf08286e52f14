"""One run over several machines of a cluster: a piece on each starts the processes there, as a person would.

Knows pieces and the file in which the first machine says where it is reached. Knows nothing of clusters or training.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camelid_core.errors import TrainingError
from camelid_core.events import read_events
from camelid_core.integrity import write_durably
from camelid_core.jobs.pieces import PIECES, Piece, piece_directory, run_in_pieces
from camelid_core.jobs.rendezvous import ADDRESS_VARIABLE
from camelid_core.jobs.run_directories import EVENTS
from camelid_core.json_files import object_in
from camelid_core.tasks import StopRequest, TaskContext

if TYPE_CHECKING:
    from camelid_train.config import Recipe

_MEETING = "meeting.json"
_MEET_SECONDS = 900.0
_POLL_SECONDS = 0.2
_TARGET = "camelid_train.launching.over_machines:run_here"


def launch_over_machines(recipe: Recipe, context: TaskContext) -> Mapping[str, Any]:
    """Run `recipe` on as many machines as it says; returns and raises what one process would.

    Raises:
        MachineLost: one of them is gone; the others were ended.
        UsageError: the executor divides no jobs, or has not so many machines.
        Interrupted: all processes saved and stopped.
        CamelidError: the error of the first process that failed.
    """
    order = {
        "recipe": recipe.model_dump(mode="json"),
        "directory": str(context.directory),
        "output": str(context.output),
        "earlier": [str(path) for path in context.earlier_attempts],
    }
    names = [f"machine-{number}" for number in range(recipe.launch.nodes)]
    pieces = [Piece(name, _TARGET, {"number": number, **order}) for number, name in enumerate(names)]
    first = piece_directory(context.directory, names[0], 1) / EVENTS
    offset = 0

    def relay() -> None:
        nonlocal offset
        events, offset = read_events(first, offset)
        for event in events:
            if event["kind"] != "log":  # those come with the name of their piece
                context.emit(event.pop("kind"), **{name: value for name, value in event.items() if name != "time"})

    return run_in_pieces(recipe.launch.executor, pieces, context, relay, apart=True)[names[0]]


def run_here(values: Mapping[str, Any], context: TaskContext) -> Mapping[str, Any]:
    """One machine's part, in the process that the cluster started for it. Raises as `launch` does."""
    from camelid_train.config import Recipe

    from .launch import launch

    recipe = Recipe.model_validate(values["recipe"])
    attempt, number = Path(values["directory"]), int(values["number"])
    host, port = _meet(attempt / PIECES / _MEETING, number, context)
    os.environ |= {"MASTER_ADDR": host, "MASTER_PORT": str(port), "NODE_RANK": str(number)}
    return launch(recipe, _MachineContext(values, context))


def _meet(file: Path, number: int, context: TaskContext) -> tuple[str, int]:
    """Where all processes meet: the first machine writes it, the others wait for it."""
    if number == 0:
        host = os.environ.get(ADDRESS_VARIABLE) or socket.gethostbyname(socket.gethostname())
        with socket.socket() as found:
            found.bind(("", 0))
            port = int(found.getsockname()[1])
        write_durably(file, json.dumps({"host": host, "port": port}).encode(), private=True)
    until = time.monotonic() + _MEET_SECONDS
    while not (found_at := object_in(file)):
        if time.monotonic() > until:
            raise TrainingError(f"the first machine did not say within {_MEET_SECONDS:g} s where it is reached.")
        time.sleep(_POLL_SECONDS)
    return str(found_at["host"]), int(found_at["port"])


class _MachineContext:
    """The context of one machine: the first has the attempt's directories, the others directories of their own, and all
    resume from what the first saved."""

    def __init__(self, values: Mapping[str, Any], piece: TaskContext) -> None:
        self._piece = piece
        leads = not values["number"]
        self.directory = Path(values["directory"]) if leads else piece.directory
        self.output = Path(values["output"]) if leads else piece.directory / "output"
        self.earlier_attempts = tuple(Path(path) for path in values["earlier"])

    def emit(self, kind: str, **values: Any) -> None:
        self._piece.emit(kind, **values)

    def stop_requested(self) -> StopRequest:
        return self._piece.stop_requested()
