"""Pieces: parts of one attempt's work that a cluster runs at the same time on several machines.

    <attempt>/pieces/stop              the stop request, for all
    <attempt>/pieces/<name>/<try>/     directory of a piece; tried again elsewhere, it has another one

Knows how a task hands out pieces and how one runs. Knows nothing of clusters: an executor that `RunsPieces` does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from camelid_core.errors import JobError, UsageError
from camelid_core.events import EventLog, read_events
from camelid_core.file_permissions import PRIVATE_DIRECTORY_MODE
from camelid_core.integrity import write_durably
from camelid_core.tasks import Interrupted, StopRequest, TaskContext, import_attribute

from .attempt_result import AttemptResult, Outcome
from .groups import PEER_LOST
from .run_directories import EVENTS

PIECES = "pieces"
MAX_TRIES = 5
"""A piece whose machine is lost is run on another one; after so many the job fails."""
_STOP = "stop"
_LOOK_SECONDS = 0.5
_STOPS: tuple[StopRequest, ...] = ("", "finish", "save")

Tick = Callable[[], None]


class MachineLost(JobError):
    """A machine that ran a piece is gone: the attempt is lost, and the job goes on in another one."""

    @property
    def attempt_result(self) -> AttemptResult:
        return AttemptResult(Outcome.FENCED, str(self))


class PieceFailed(JobError):
    """A piece ended in an error, which is the attempt's."""

    def __init__(self, attempt_result: AttemptResult) -> None:
        super().__init__(attempt_result.message)
        self.attempt_result = attempt_result


@dataclass(frozen=True, slots=True)
class Piece:
    """`target` is the `module:attribute` of `(values, context) -> summary`; `values` and summary go through JSON."""

    name: str
    target: str
    values: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class RunsPieces(Protocol):
    """An executor that runs pieces of an attempt, called in the attempt's own process."""

    def run_pieces(
        self, pieces: Sequence[Piece], directory: Path, tick: Tick, apart: bool = False
    ) -> dict[str, AttemptResult]:
        """Run each to its end, by `run_piece`, and call `tick` about twice a second; results by name.

        A piece whose machine is lost is tried again on another one, `MAX_TRIES` times in all. With `apart` all run at
        once, each on a machine of its own, and none is tried again.

        Raises:
            MachineLost: no try came to an end.
            UsageError: the cluster has not enough machines.
        """


def run_in_pieces(
    executor: str, pieces: Sequence[Piece], context: TaskContext, tick: Tick, apart: bool = False
) -> dict[str, Mapping[str, Any]]:
    """Run pieces of a task on the executor of its job; the summary of each by name.

    Raises:
        UsageError: the executor runs no pieces.
        Interrupted: asked to save, and every piece has.
        CamelidError: the error of the first piece that failed.
    """
    place = context.directory / PIECES
    place.mkdir(PRIVATE_DIRECTORY_MODE, exist_ok=True)
    stop = _StopRelay(place / _STOP, context)

    logs = _LogRelay(place, context)

    def look() -> None:
        stop()
        logs()
        tick()

    results = _runner(executor).run_pieces(pieces, context.directory, look, apart)
    look()
    failed = [result for result in results.values() if result.how not in (Outcome.SUCCEEDED, Outcome.SAVED)]
    if failed:  # one that only lost the others is not the cause
        raise PieceFailed(next((result for result in failed if result.kind != PEER_LOST), failed[0]))
    if any(result.how == Outcome.SAVED for result in results.values()):
        raise Interrupted
    return {name: result.summary for name, result in results.items()}


def run_piece(directory: Path, text: str, number: int) -> str:
    """Run the piece that `text` describes, on its machine, as try `number`; its result as JSON.

    `directory` is that of the attempt.
    """
    piece = Piece(**json.loads(text))
    context = PieceContext(directory, piece.name, number)
    try:
        summary = import_attribute(piece.target)(piece.values, context)
        result = AttemptResult(Outcome.SUCCEEDED, summary=dict(summary))
    except Interrupted:
        result = AttemptResult(Outcome.SAVED)
    except Exception as error:
        import traceback

        traceback.print_exc()
        result = AttemptResult.from_exception(error)
    finally:
        context.close()
    return json.dumps(asdict(result))


def piece_directory(attempt: Path, name: str, number: int) -> Path:
    return attempt / PIECES / name / str(number)


def with_pieces(attempts: Sequence[Path]) -> list[Path]:
    """These directories, each followed by those of the pieces in it."""
    return [path for attempt in attempts for path in (attempt, *sorted(attempt.glob(f"{PIECES}/*/*/")))]


class PieceContext:
    """The `TaskContext` of a piece. `output` is that of the attempt."""

    def __init__(self, attempt: Path, name: str, number: int) -> None:
        self.name = name
        self.directory = piece_directory(attempt, name, number)
        self.directory.mkdir(PRIVATE_DIRECTORY_MODE, parents=True, exist_ok=True)
        self.output = attempt / "output"
        self.earlier_attempts: tuple[Path, ...] = ()
        self._stop_file = attempt / PIECES / _STOP
        self._events = EventLog(self.directory / EVENTS)
        self._stop: StopRequest = ""
        self._looked = float("-inf")

    def emit(self, kind: str, **values: Any) -> None:
        self._events.emit(kind, **values)

    def stop_requested(self) -> StopRequest:
        if time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._looked = time.monotonic()
            try:
                text = self._stop_file.read_text(encoding="ascii")
            except FileNotFoundError:
                text = ""
            self._stop = next((stop for stop in _STOPS if stop == text), "")
        return self._stop

    def close(self) -> None:
        self._events.close()


class _StopRelay:
    """Writes what the attempt is asked for where pieces read it."""

    def __init__(self, path: Path, context: TaskContext) -> None:
        self._path = path
        self._context = context
        self._written: StopRequest = ""

    def __call__(self) -> None:
        now = self._context.stop_requested()
        if now != self._written:
            write_durably(self._path, now.encode(), private=True)
            self._written = now


class _LogRelay:
    """Passes on what pieces log, with their names."""

    def __init__(self, place: Path, context: TaskContext) -> None:
        self._place = place
        self._context = context
        self._read: dict[Path, int] = {}

    def __call__(self) -> None:
        for path in sorted(self._place.glob(f"*/*/{EVENTS}")):
            events, self._read[path] = read_events(path, self._read.get(path, 0))
            for event in events:
                if event["kind"] == "log":
                    self._context.emit("log", text=f"{path.parts[-3]}: {event.get('text', '')}")


def _runner(executor: str) -> RunsPieces:
    from camelid_core.plugins import load_host

    host = load_host()
    found = host.executors[executor]
    if not isinstance(found, RunsPieces):
        able = [name for name in host.executors.names() if isinstance(host.executors[name], RunsPieces)]
        raise UsageError(
            f"launch.executor={executor!r} runs a job on one machine and divides none. Executors that do: "
            f"{', '.join(able) or 'none is installed; `pip install camelid-ray` adds ray'}."
        )
    return found
