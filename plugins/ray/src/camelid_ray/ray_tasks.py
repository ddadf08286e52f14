"""Pieces of an attempt as Ray tasks: spread over the machines, tried again where one is lost.

Knows Ray's tasks and placement groups; runs in the attempt's own process, which the cluster started. Ray pickles the
call of one function of this module by its name, and texts.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from camelid_core.errors import UsageError
from camelid_core.file_permissions import open_private
from camelid_core.jobs.attempt_result import AttemptResult, Outcome
from camelid_core.jobs.pieces import MAX_TRIES, MachineLost, Piece, Tick, piece_directory, run_piece
from camelid_core.jobs.process_identity import ATTEMPT_VARIABLE
from camelid_core.jobs.run_directories import LOG
from camelid_core.subprocesses import SAFE_PATH

from .settings import RaySettings

_TICK_SECONDS = 0.5
_PLACE_SECONDS = 600.0
_STANDARD = (1, 2)


def execute(directory: str, text: str, number: int) -> str:
    """Run one piece in a process of Ray's own, which ends with it; what it says goes to the piece's log."""
    piece = json.loads(text)
    place = piece_directory(Path(directory), piece["name"], number)
    place.mkdir(0o700, parents=True, exist_ok=True)
    with open_private(place / LOG, "ab") as log:
        for descriptor in _STANDARD:
            os.dup2(log.fileno(), descriptor)
    import ray

    os.environ.setdefault("CAMELID_ADDRESS", ray.util.get_node_ip_address())
    return run_piece(Path(directory), text, number)


def run(
    settings: RaySettings, pieces: Sequence[Piece], directory: Path, tick: Tick, apart: bool
) -> dict[str, AttemptResult]:
    """As `RunsPieces.run_pieces`."""
    with _connected(), _placed(settings, len(pieces) if apart else 0, tick) as options:
        return _Running(settings, directory, options, 1 if apart else MAX_TRIES).run(pieces, tick)


class _Running:
    """The tasks of one attempt that run now."""

    def __init__(self, settings: RaySettings, directory: Path, options: Sequence[dict[str, Any]], tries: int) -> None:
        import ray

        self._ray = ray
        self._directory = directory
        self._options = options
        self._tries = tries
        variables = {"CAMELID_HOME": os.environ["CAMELID_HOME"], "OMP_WAIT_POLICY": "PASSIVE", **SAFE_PATH}
        mark = {ATTEMPT_VARIABLE: os.environ[ATTEMPT_VARIABLE]} if ATTEMPT_VARIABLE in os.environ else {}
        # a process of its own for each piece: it holds a model, and the mark by which it is killed
        self._function = ray.remote(
            num_cpus=settings.cpus,
            num_gpus=settings.gpus,
            max_retries=0,
            max_calls=1,
            runtime_env={"env_vars": variables | mark},
        )(execute)
        self._waiting: dict[Any, tuple[int, Piece, int]] = {}

    def run(self, pieces: Sequence[Piece], tick: Tick) -> dict[str, AttemptResult]:
        for place, piece in enumerate(pieces):
            self._begin(place, piece, 1)
        results = {}
        while self._waiting:
            done, _ = self._ray.wait(list(self._waiting), num_returns=1, timeout=_TICK_SECONDS)
            tick()
            for reference in done:
                place, piece, number = self._waiting.pop(reference)
                result = self._result(reference, piece, number)
                if result is not None:
                    results[piece.name] = result
                else:
                    self._begin(place, piece, number + 1)
        return results

    def _begin(self, place: int, piece: Piece, number: int) -> None:
        options = self._options[place % len(self._options)]
        text = json.dumps(dataclasses.asdict(piece))
        reference = self._function.options(name=f"camelid {piece.name}", **options).remote(
            str(self._directory), text, number
        )
        self._waiting[reference] = place, piece, number

    def _result(self, reference: Any, piece: Piece, number: int) -> AttemptResult | None:
        """The result of a piece; None if it is to be tried again."""
        errors = self._ray.exceptions
        try:
            values = json.loads(self._ray.get(reference))
        except (
            errors.WorkerCrashedError,
            errors.NodeDiedError,
            errors.ObjectLostError,
            errors.TaskUnschedulableError,
        ) as error:
            why = (str(error).strip() or type(error).__name__).splitlines()[0].partition(". ")[0].rstrip(".")
            if number >= self._tries:
                raise MachineLost(f"The machine of piece {piece.name} is gone ({why}).") from None
            sys.stderr.write(f"Piece {piece.name} lost its machine; try {number + 1} goes on elsewhere.\n")
            return None
        return AttemptResult(**values | {"how": Outcome(values["how"])})


@contextmanager
def _connected() -> Iterator[None]:
    """This process joined to the cluster that started it."""
    import ray

    handlers = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    ray.init(address="auto", configure_logging=False, log_to_driver=False, include_dashboard=False)
    for each, handler in handlers.items():  # Ray's would end the attempt where it is to save
        signal.signal(each, handler)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _placed(settings: RaySettings, machines: int, tick: Tick) -> Iterator[Sequence[dict[str, Any]]]:
    """Options that put tasks where they belong: spread, or on `machines` different ones."""
    if not machines:
        yield [{"scheduling_strategy": "SPREAD"}]
        return
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    _check_machines(ray.nodes(), machines)
    needs = {name: value for name, value in (("CPU", settings.cpus), ("GPU", settings.gpus)) if value}
    group = placement_group([needs or {"CPU": 0.001}] * machines, strategy="STRICT_SPREAD")
    try:
        waited, ready = 0.0, group.ready()
        while not ray.wait([ready], timeout=_TICK_SECONDS)[0]:
            tick()
            waited += _TICK_SECONDS
            if waited > _PLACE_SECONDS:
                raise UsageError(f"{machines} machines of the Ray cluster were not free within {_PLACE_SECONDS:g} s.")
        yield [
            {"scheduling_strategy": PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=number)}
            for number in range(machines)
        ]
    finally:
        remove_placement_group(group)


def _check_machines(nodes: Sequence[dict[str, Any]], machines: int) -> None:
    alive = sum(bool(node.get("Alive")) for node in nodes)
    if alive < machines:
        raise UsageError(
            f"launch.nodes is {machines}, and the Ray cluster has {alive} machines. Type launch.nodes={alive}."
        )
