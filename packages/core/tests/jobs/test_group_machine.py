"""State machine: any order of claims, heartbeats, clock jumps, reboots, cancellations and stale workers is safe."""

from __future__ import annotations

import tempfile
from pathlib import Path

from camelid_core.errors import JobError, StaleAttempt
from camelid_core.jobs.clock import Clock
from camelid_core.jobs.job import ACTIVE, ENDED, TRANSITIONS, Job, JobState
from camelid_core.jobs.store import JobStore
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

LEASE = 30.0
ADDRESS = {"host": "10.0.0.1", "port": 20_001, "network": "a"}
MEMORY = Path("/dev/shm")  # fsync costs nothing there


class Turned(Clock):
    def __init__(self) -> None:
        self.time, self.boots, self.walls = 100.0, 0, 1e9

    def now(self) -> float:
        return self.time

    def boot(self) -> str:
        return str(self.boots)

    def wall(self) -> float:
        return self.walls


class Table(RuleBasedStateMachine):
    """`attempts` are all attempts ever given out: most of them are stale, and all keep trying."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)
        self.clock = Turned()
        self.store = JobStore(Path(self.directory.name) / "jobs.sqlite3", self.clock)
        self.accepted: list[int] = []
        self.attempts: list[Job] = []
        self.placed: list[int] = []
        self.seen: dict[int, Job] = {}

    def teardown(self) -> None:
        self.directory.cleanup()

    @rule(
        key=st.sampled_from([None, "a", "b"]),
        hold_seconds=st.sampled_from([0.0, 10.0]),
        nodes=st.sampled_from([1, 1, 2, 3]),
        data=st.data(),
    )
    def submit(self, key: str | None, hold_seconds: float, nodes: int, data: st.DataObject) -> None:
        needed = data.draw(st.lists(st.sampled_from(self.accepted), max_size=2)) if self.accepted else []
        config = {"launch": {"nodes": 1 if key else nodes}}
        job = self.store.submit("tick", config, key=key, hold_seconds=hold_seconds, depends_on=needed)
        if job.id not in self.accepted:
            self.accepted.append(job.id)

    @rule(worker=st.sampled_from("uvw"), address=st.sampled_from([ADDRESS, ADDRESS, None]))
    def claim(self, worker: str, address: dict[str, object] | None) -> None:
        job = self.store.claim(worker, LEASE, address=address)
        if job is not None:
            last = max((old.epoch for old in self.attempts if old.id == job.id), default=0)
            assert job.epoch > last if job.leader else job.epoch == last + 1
            assert address or not job.in_group
            self.attempts.append(job)
            assert all(self.store.get(needed).state == JobState.SUCCEEDED for needed in job.depends_on)

    @rule(data=st.data())
    def act(self, data: st.DataObject) -> None:
        if not self.attempts:
            return
        job = data.draw(st.sampled_from(self.attempts))
        does = {
            "start": lambda: self.store.start(job),
            "beat": lambda: self.store.heartbeat(job),
            "fail": lambda: self.store.finish(job, JobState.FAILED),
            "pause": lambda: self.store.finish(job, JobState.PAUSED),
            "release": lambda: self.store.release(job),
            "mark_lost": lambda: self.store.mark_lost(job),
            "publish": lambda: self.store.publish(job, lambda: self.place(job), {}),
        }
        newest = max(old.epoch for old in self.attempts if old.id == job.id)
        try:
            does[data.draw(st.sampled_from(sorted(does)))]()
        except StaleAttempt:
            return
        except JobError:
            pass  # not allowed from its present state, yet past the fence
        assert job.epoch == newest, "a zombie was let in"

    def place(self, job: Job) -> Path:
        self.placed.append(job.id)
        return Path(f"/artefacts/{job.id}")

    @rule(seconds=st.sampled_from([1.0, 9.0, 31.0, 3600.0]))
    def wait(self, seconds: float) -> None:
        self.clock.time += seconds

    @rule(seconds=st.sampled_from([-3600.0, 3600.0, -1e9]))
    def jump(self, seconds: float) -> None:
        """The wall clock may say what it likes."""
        self.clock.walls += seconds

    @rule()
    def reboot(self) -> None:
        self.clock.boots += 1
        self.clock.time = 1.0

    @rule()
    def sweep(self) -> None:
        self.store.sweep_lost()

    @rule(data=st.data(), request=st.sampled_from(["cancel", "finish", "pause", "retry"]))
    def ask(self, data: st.DataObject, request: str) -> None:
        if not self.accepted:
            return
        job_id = data.draw(st.sampled_from(self.accepted))
        try:
            self.store.retry(job_id) if request == "retry" else self.store.request(job_id, request)
        except StaleAttempt:
            raise
        except JobError:
            return

    @invariant()
    def nothing_is_lost_and_nothing_published_twice(self) -> None:
        jobs = {job.id: job for job in self.store.list(limit=10_000)}
        assert sorted(jobs) == sorted(self.accepted)
        assert len(self.placed) == len(set(self.placed))
        assert sorted(self.placed) == sorted(job.id for job in jobs.values() if job.published)
        for job_id, job in jobs.items():
            before = self.seen.get(job_id, job)
            assert job.epoch >= before.epoch
            assert before.state != JobState.SUCCEEDED or job == before
            assert job.state == before.state or TRANSITIONS[before.state]
            assert (job.state in ENDED) == (job.ended is not None)
        self.seen = jobs

    @invariant()
    def a_group_is_held_as_a_whole_or_not_at_all(self) -> None:
        jobs = {job.id: job for job in self.store.list(limit=10_000, with_members=True)}
        for member in (job for job in jobs.values() if job.leader):
            leader = jobs[member.leader]
            assert leader.state in ACTIVE or member.state in ENDED
            assert member.state not in ACTIVE or (member.epoch, member.request) == (leader.epoch, leader.request)
            mates = [job.owner for job in self.store.nodes(member) if job.state in ACTIVE]
            assert len(mates) == len(set(mates))
            assert not member.published

    @invariant()
    def no_lease_is_eternal(self) -> None:
        for job in self.store.list([JobState.CLAIMED, JobState.RUNNING]):
            assert job.boot != self.clock.boot() or job.lease <= self.clock.now() + LEASE


TestTable = Table.TestCase
TestTable.settings = settings(
    max_examples=50, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
