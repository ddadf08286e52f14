"""What the job table should do, as plain Python over a dictionary: the model that the state machine compares it with.

Every verb either changes the model and says what comes back, or raises `Refused`. It is written from the promises of
`docs/reliability.md`, in the simplest way, and shares no code with the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

BACKOFF = (10.0, 20.0, 40.0)
LEASE = 30.0
ACTIVE = ("claimed", "running")
ENDED = ("succeeded", "failed", "cancelled", "paused")
RANK = ("", "finish", "pause", "cancel")


class Refused(Exception):
    """A verb that the table must refuse; nothing changes."""


class Stale(Refused):
    """Whoever asks does not hold the job any more."""


@dataclass
class Time:
    """Seconds since the last start of the machine, which start it was, and what the wall clock says."""

    now: float = 100.0
    boot: int = 0
    wall: float = 1e9


@dataclass
class Row:
    id: int
    key: str | None
    priority: int
    needs: tuple[int, ...]
    earliest: float
    state: str = "queued"
    epoch: int = 0
    request: str = ""
    retries: int = 0
    boot: int = 0
    lease: float = 0.0
    waits_until: float = 0.0
    published: bool = False


@dataclass
class Model:
    time: Time
    rows: dict[int, Row] = field(default_factory=dict)
    last: int = 0

    # -- people

    def submit(self, key: str | None, priority: int, needs: Sequence[int], earliest: float, hold: float) -> int:
        for row in self.rows.values():
            if key is not None and row.key == key:
                return row.id
        if any(each not in self.rows for each in needs):
            raise Refused
        self.last += 1
        self.rows[self.last] = Row(
            self.last, key, priority, tuple(needs), earliest, boot=self.time.boot,
            waits_until=self.time.now + hold if hold else 0.0,
        )  # fmt: skip
        return self.last

    def request(self, number: int, request: str) -> None:
        row = self._row(number)
        if row.state in ENDED or (row.state not in ACTIVE and request == "finish"):
            raise Refused
        if row.state in ACTIVE:
            row.request = max(row.request, request, key=RANK.index)
        else:
            row.state = "cancelled" if request == "cancel" else "paused"

    def prioritise(self, number: int, priority: int) -> None:
        row = self._row(number)
        if row.state not in ("queued", "lost"):
            raise Refused
        row.priority = priority

    def retry(self, number: int) -> None:
        row = self._row(number)
        if row.state not in ("failed", "cancelled", "paused", "lost") or any(n not in self.rows for n in row.needs):
            raise Refused
        row.state, row.request, row.retries, row.waits_until = "queued", "", 0, 0.0

    def delete(self, number: int) -> None:
        row = self._row(number)
        users = [each for each in self.rows.values() if number in each.needs]
        if row.state not in ENDED or any(each.state in ("queued", "lost", "paused", *ACTIVE) for each in users):
            raise Refused
        del self.rows[number]

    # -- workers

    def next(self) -> int | None:
        due = [row for row in self.rows.values() if self._due(row)]
        return min(due, key=lambda row: (-row.priority, row.id)).id if due else None

    def ready(self, number: int) -> bool:
        """Whether somebody who asks for this job gets it, whatever its time."""
        row = self.rows.get(number)
        return row is not None and row.state == "queued" and self._has_what_it_needs(row)

    def claim(self, number: int) -> int:
        row = self._row(number)
        row.state, row.epoch, row.boot, row.lease = "claimed", row.epoch + 1, self.time.boot, self.time.now + LEASE
        return row.epoch

    def held(self, number: int, epoch: int) -> Row:
        row = self.rows.get(number)
        if row is None or row.epoch != epoch or row.state not in ACTIVE:
            raise Stale
        return row

    def start(self, number: int, epoch: int) -> None:
        self._move(self.held(number, epoch), "running", only_from=("claimed",))

    def heartbeat(self, number: int, epoch: int) -> None:
        row = self.held(number, epoch)
        row.lease, row.boot = self.time.now + LEASE, self.time.boot

    def finish(self, number: int, epoch: int, state: str) -> None:
        self._move(self.held(number, epoch), state, only_from=("running",) if state == "succeeded" else ACTIVE)

    def publish(self, number: int, epoch: int) -> None:
        row = self.held(number, epoch)
        self._move(row, "succeeded", only_from=("running",))
        row.published = True

    def release(self, number: int, epoch: int) -> None:
        row = self.held(number, epoch)
        row.waits_until = 0.0
        self._queue_again(row)

    def lose(self, number: int, epoch: int) -> None:
        self._lose(self.held(number, epoch))

    def sweep(self) -> None:
        rows = list(self.rows.values())
        expired = [row for row in rows if row.state in ACTIVE and (self._rebooted(row) or row.lease < self.time.now)]
        waited = [row for row in rows if row.state == "lost" and self._waited(row)]
        for row in expired:
            self._lose(row)
        for row in waited:
            self._queue_again(row)

    # -- rules

    def _row(self, number: int) -> Row:
        if number not in self.rows:
            raise Refused
        return self.rows[number]

    def _due(self, row: Row) -> bool:
        return row.state == "queued" and self._waited(row) and row.earliest <= self.time.wall and self.ready(row.id)

    def _has_what_it_needs(self, row: Row) -> bool:
        return all(each in self.rows and self.rows[each].state == "succeeded" for each in row.needs)

    def _rebooted(self, row: Row) -> bool:
        return row.boot != self.time.boot

    def _waited(self, row: Row) -> bool:
        return self._rebooted(row) or row.waits_until <= self.time.now

    def _move(self, row: Row, state: str, only_from: Iterable[str]) -> None:
        if row.state not in only_from:
            raise Refused
        row.state = state

    def _queue_again(self, row: Row) -> None:
        row.state = {"cancel": "cancelled", "pause": "paused"}.get(row.request, "queued")

    def _lose(self, row: Row) -> None:
        """Lost waits longer each time; what people requested meanwhile is done at once."""
        row.state, row.boot = "lost", self.time.boot
        if row.request in ("cancel", "pause"):
            self._queue_again(row)
        elif row.retries == len(BACKOFF):
            row.state = "failed"
        else:
            row.waits_until = self.time.now + BACKOFF[row.retries]
            row.retries += 1
