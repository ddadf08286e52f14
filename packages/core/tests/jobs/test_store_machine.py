"""State machine: in any order of verbs, clock jumps, reboots and stale workers the table does what the model does."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from camelid_core.errors import JobError, StaleAttempt
from camelid_core.jobs.clock import Clock
from camelid_core.jobs.job import ENDED, Job, JobState
from camelid_core.jobs.store import JobStore
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from .table_model import BACKOFF, LEASE, Model, Refused, Stale, Time

MEMORY = Path("/dev/shm")  # fsync costs nothing there
HOUR = 3600.0


class Turned(Clock):
    """Shows the model's time."""

    def __init__(self, time: Time) -> None:
        self.time = time

    def now(self) -> float:
        return self.time.now

    def boot(self) -> str:
        return str(self.time.boot)

    def wall(self) -> float:
        return self.time.wall


class Table(RuleBasedStateMachine):
    """`attempts` are all attempts ever given out: most of them are stale, and all keep trying."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)
        self.model = Model(Time())
        self.store = JobStore(Path(self.directory.name) / "jobs.sqlite3", Turned(self.model.time), BACKOFF)
        self.attempts: list[Job] = []
        self.placed: list[int] = []
        self.ever: list[int] = []

    @initialize()
    def begin(self) -> None:
        """With a few jobs, the last of which needs the others."""
        for needs in ((), (), (1, 2)):
            self.ever.append(self.model.submit(None, 0, needs, 0.0, 0.0))
            assert self.store.submit("tick", {}, depends_on=needs).id == self.ever[-1]

    def teardown(self) -> None:
        self.directory.cleanup()

    def both(self, expected, actual):
        """The same verb on the model and on the table: both do it, or both refuse, and for the same reason."""
        wanted, refused = None, None
        try:
            wanted = expected()
        except Refused as error:
            refused = error
        if refused is None:
            return wanted, actual()
        with pytest.raises(JobError) as told:
            actual()
        assert isinstance(told.value, StaleAttempt) == isinstance(refused, Stale)
        return None

    @rule(
        key=st.sampled_from([None, None, "a", "b"]),
        priority=st.sampled_from([0, 0, 5, -5]),
        hold=st.sampled_from([0.0, 0.0, 10.0]),
        earliest=st.sampled_from([0.0, 0.0, 1e9 + HOUR]),
        data=st.data(),
    )
    def submit(self, key: str | None, priority: int, hold: float, earliest: float, data: st.DataObject) -> None:
        needs = data.draw(st.lists(st.sampled_from(self.ever[-3:]), max_size=2, unique=True))
        done = self.both(
            lambda: self.model.submit(key, priority, needs, earliest, hold),
            lambda: self.store.submit("tick", {}, "", priority, key, hold, needs, earliest),
        )
        if done is not None:
            wanted, job = done
            assert job.id == wanted
            self.ever += [] if job.id in self.ever else [job.id]

    @rule(only=st.booleans(), data=st.data())
    def claim(self, only: bool, data: st.DataObject) -> None:
        """The next one in exact order, or one by its number."""
        number = data.draw(st.sampled_from(self.ever)) if only else None
        wanted = self.model.next() if number is None else number if self.model.ready(number) else None
        job = self.store.claim("w", LEASE, only=number)
        assert (None if job is None else job.id) == wanted
        if job is not None:
            assert job.epoch == self.model.claim(job.id)
            self.attempts.append(job)

    @rule()
    def run(self) -> None:
        """The next one from beginning to end, so that what waits for others gets its turn, too."""
        number = self.model.next()
        job = self.store.claim("w", LEASE)
        assert (None if job is None else job.id) == number
        if job is not None:
            at = (job.id, self.model.claim(job.id))
            self.attempts.append(job)
            self.both(lambda: self.model.start(*at), lambda: self.store.start(job))
            self.both(lambda: self.model.finish(*at, "succeeded"), lambda: self.store.finish(job, JobState.SUCCEEDED))

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), verb=st.sampled_from(["start", "start", "beat", "end", "publish", "release", "lose"]))
    def act(self, data: st.DataObject, verb: str) -> None:
        recent = data.draw(st.booleans())
        job = self.attempts[-1] if recent else data.draw(st.sampled_from(self.attempts))
        model, store, at = self.model, self.store, (job.id, job.epoch)
        state = data.draw(st.sampled_from(sorted(ENDED))) if verb == "end" else JobState.FAILED
        expected, actual = {
            "start": (lambda: model.start(*at), lambda: store.start(job)),
            "beat": (lambda: model.heartbeat(*at), lambda: store.heartbeat(job)),
            "end": (lambda: model.finish(*at, str(state)), lambda: store.finish(job, state)),
            "publish": (lambda: model.publish(*at), lambda: store.publish(job, lambda: self.place(job), {})),
            "release": (lambda: model.release(*at), lambda: store.release(job)),
            "lose": (lambda: model.lose(*at), lambda: store.mark_lost(job)),
        }[verb]
        self.both(expected, actual)

    def place(self, job: Job) -> Path:
        self.placed.append(job.id)
        return Path(f"/artefacts/{job.id}")

    @rule(data=st.data(), verb=st.sampled_from(["cancel", "finish", "pause", "retry", "prioritise"]))
    def ask(self, data: st.DataObject, verb: str) -> None:
        number, model, store = data.draw(st.sampled_from(self.ever[-4:])), self.model, self.store
        expected, actual = {
            "retry": (lambda: model.retry(number), lambda: store.retry(number)),
            "prioritise": (lambda: model.prioritise(number, 7), lambda: store.prioritise(number, 7)),
        }.get(verb) or (lambda: model.request(number, verb), lambda: store.request(number, verb))
        self.both(expected, actual)

    @rule(data=st.data(), needed=st.booleans())
    def delete(self, data: st.DataObject, needed: bool) -> None:
        """Any job, or one whose result another needs that has not ended."""
        users = [row for row in self.model.rows.values() if row.state not in ENDED]
        numbers = [number for row in users for number in row.needs] if needed else []
        number = data.draw(st.sampled_from(numbers or self.ever))
        self.both(lambda: self.model.delete(number), lambda: self.store.delete(number, lambda: None))

    @rule(data=st.data(), what=st.sampled_from(["sweep", "sweep", "wait", "wait", "jump", "reboot"]))
    def time_goes_by(self, data: st.DataObject, what: str) -> None:
        """The wall clock may jump an hour or to 1970: no lease notices."""
        time = self.model.time
        if what == "wait":
            time.now += data.draw(st.sampled_from([1.0, 9.0, 11.0, 31.0, HOUR]))
        elif what == "jump":
            time.wall = data.draw(st.sampled_from([1e9, 1e9 - HOUR, 1e9 + HOUR, 5.0]))
        elif what == "reboot":
            time.boot, time.now = time.boot + 1, 1.0
        self.store.sweep_lost()
        self.model.sweep()

    @invariant()
    def the_table_is_what_the_model_is(self) -> None:
        jobs = {job.id: job for job in self.store.list(limit=10_000)}
        rows = self.model.rows
        assert {
            number: (str(job.state), job.epoch, job.priority, job.request, job.retries, bool(job.published))
            for number, job in jobs.items()
        } == {
            number: (row.state, row.epoch, row.priority, row.request, row.retries, row.published)
            for number, row in rows.items()
        }
        assert len(self.placed) == len(set(self.placed)), "it was published twice"
        assert all((job.state in ENDED) == (job.ended is not None) for job in jobs.values())

    @invariant()
    def no_lease_is_eternal(self) -> None:
        for job in self.store.list([JobState.CLAIMED, JobState.RUNNING]):
            assert job.boot != str(self.model.time.boot) or job.lease <= self.model.time.now + LEASE


SHORT = settings(max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
TestTable = Table.TestCase
TestTable.settings = SHORT


@pytest.mark.exhaustive
class TestManyOrders(Table.TestCase):
    settings = settings(SHORT, max_examples=200, stateful_step_count=50)
