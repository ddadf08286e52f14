"""The job table: transitions, fencing, requests, and a damaged or unavailable file."""

from __future__ import annotations

import sqlite3
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from camelid_core.errors import JobError, StaleAttempt, UsageError
from camelid_core.jobs.clock import Clock
from camelid_core.jobs.database import Database, TableUnavailable
from camelid_core.jobs.job import ENDED, TRANSITIONS, JobState
from camelid_core.jobs.job_rows import UPDATE, VERSION, to_values
from camelid_core.jobs.presence import WorkerPresence, live_workers, reserve_worker_start
from camelid_core.jobs.start_conditions import waits_for
from camelid_core.jobs.store import JobStore


class Turned(Clock):
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.time, self.started = 1000.0, "boot 1"

    def now(self) -> float:
        return self.time

    def boot(self) -> str:
        return self.started


@pytest.fixture
def clock() -> Turned:
    return Turned()


@pytest.fixture
def store(tmp_path: Path, clock: Turned) -> JobStore:
    return JobStore(tmp_path / "jobs.sqlite3", clock)


def test_submitted_is_stored_as_given(store):
    job = store.submit("tick", {"count": 3, "文": [1.5, None]}, name="run-1", priority=2)
    assert (job.state, job.epoch, job.task, job.name, job.priority) == (JobState.QUEUED, 0, "tick", "run-1", 2)
    assert JobStore(store.path).get(job.id).config == {"count": 3, "文": [1.5, None]}
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


def test_same_key_same_job(store):
    job = store.submit("tick", {}, key="click")
    assert store.submit("tick", {}, key="click") == job
    with pytest.raises(JobError, match="key 'click' belongs to job 1"):
        store.submit("tick", {"count": 1}, key="click")
    assert len(store.list()) == 1


@pytest.mark.parametrize("name", ["../x", "/etc", "a b", "con", "a" * 65])
def test_name_must_be_a_directory_name(store, name):
    with pytest.raises(UsageError):
        store.submit("tick", {}, name=name)


def test_priority_then_age(store):
    for priority in (0, 5, 0, 5):
        store.submit("tick", {}, priority=priority)
    assert [store.claim("w", 30).id for _ in range(4)] == [2, 4, 1, 3]
    assert store.claim("w", 30) is None


def test_held_jobs_go_to_who_asks_for_them(store, clock):
    job = store.submit("tick", {}, hold_seconds=10)
    assert store.claim("other", 30) is None
    assert store.claim("here", 30, only=job.id).owner == "here"
    assert store.claim("here", 30, only=job.id) is None
    store.submit("tick", {}, hold_seconds=10)
    clock.time += 11
    assert store.claim("other", 30).id == 2


def test_a_reboot_forgets_waits(store, clock):
    store.submit("tick", {}, hold_seconds=10)
    clock.time, clock.started = 5.0, "boot 2"
    assert store.claim("w", 30).id == 1


def test_a_reboot_voids_leases_and_a_heartbeat_renews_them(store, clock):
    store.submit("tick", {})
    job = store.start(store.claim("w", 30))
    for _ in range(3):
        clock.time += 29
        assert not store.sweep_lost()
        job = store.heartbeat(job)
    clock.time, clock.started = 5.0, "boot 2"  # by this clock it would hold for 1000 s more
    assert [job.state for job in store.sweep_lost()] == [JobState.LOST]


def test_every_state_is_reached_and_every_move_is_allowed(store, clock):
    ways = {
        JobState.QUEUED: lambda job: job,
        JobState.CLAIMED: lambda job: store.claim("w", 30),
        JobState.RUNNING: lambda job: store.start(store.claim("w", 30)),
        JobState.SUCCEEDED: lambda job: store.publish(store.start(store.claim("w", 30)), lambda: Path("/x"), {"a": 1}),
        JobState.FAILED: lambda job: store.finish(store.start(store.claim("w", 30)), JobState.FAILED, error="No."),
        JobState.PAUSED: lambda job: store.finish(store.start(store.claim("w", 30)), JobState.PAUSED),
        JobState.CANCELLED: lambda job: store.request(job.id, "cancel"),
        JobState.LOST: lambda job: store.mark_lost(store.start(store.claim("w", 30))),
    }
    assert set(ways) == set(JobState) == set(TRANSITIONS)
    for state, way in ways.items():
        assert way(store.submit("tick", {}, priority=len(store.list()))).state == state
        assert len(store.list([state])) == 1


def test_lost_waits_longer_each_time_and_then_has_failed(store, clock):
    store.submit("tick", {})
    for wait in (2, 20, 40):
        store.start(store.claim("w", 30))
        clock.time += 29
        assert not store.sweep_lost()
        clock.time += 2
        (job,) = store.sweep_lost()
        assert (job.state, job.not_before) == (JobState.LOST, clock.time + wait)
        clock.time += wait - 1
        assert not store.sweep_lost()
        clock.time += 1
        assert [job.state for job in store.sweep_lost()] == [JobState.QUEUED]
    store.claim("w", 30)
    clock.time += 31
    (job,) = store.sweep_lost()
    assert (job.state, job.error_kind) == (JobState.FAILED, "lost")
    assert "camelid jobs retry 1" in job.error
    assert (store.retry(1).retries, store.claim("w", 30).epoch) == (0, 5)


def test_release_costs_nothing(store):
    store.submit("tick", {})
    for _ in range(5):
        job = store.release(store.start(store.claim("w", 30)))
        assert (job.state, job.retries, job.owner) == (JobState.QUEUED, 0, "")


def test_stale_attempts_change_nothing(store, clock):
    store.submit("tick", {})
    old = store.start(store.claim("old", 30))
    clock.time += 31
    store.sweep_lost()
    clock.time += 10
    store.sweep_lost()
    new = store.start(store.claim("new", 30))
    placed = []
    attempts = [
        lambda: store.heartbeat(old),
        lambda: store.start(old),
        lambda: store.finish(old, JobState.FAILED),
        lambda: store.publish(old, lambda: placed.append(1), {}),
        lambda: store.release(old),
        lambda: store.mark_lost(old),
    ]
    for attempt in attempts:
        with pytest.raises(StaleAttempt):
            attempt()
    assert not placed
    assert store.get(1) == new
    over = store.finish(new, JobState.FAILED)
    with pytest.raises(StaleAttempt):  # though it is the newest: the job has ended
        store.heartbeat(new)
    assert store.get(1) == over


def test_a_place_that_fails_leaves_the_job_running(store):
    store.submit("tick", {})
    job = store.start(store.claim("w", 30))

    def place():
        raise JobError("Taken.")

    with pytest.raises(JobError, match="Taken"):
        store.publish(job, place, {})
    assert store.get(1) == job


def test_requests(store):
    store.submit("tick", {})
    with pytest.raises(JobError, match="queued and has no result yet"):
        store.request(1, "finish")
    job = store.start(store.claim("w", 30))
    assert store.request(1, "finish").request == "finish"
    assert store.heartbeat(job).request == "finish"
    assert store.request(1, "cancel").request == "cancel"
    assert store.request(1, "finish").request == "cancel"
    with pytest.raises(JobError, match=r"only failed, cancelled, paused or lost.* that shows 30 s later"):
        store.retry(1)
    store.finish(job, JobState.CANCELLED)
    for request in ("cancel", "finish"):
        with pytest.raises(JobError, match="has already ended"):
            store.request(1, request)
    assert store.retry(1).request == ""
    for number in (7, 2**63):  # the second is more than the file can hold
        with pytest.raises(JobError, match=f"There is no job {number}"):
            store.get(number)


def test_cancel_reaches_a_job_whose_worker_died(store, clock):
    store.submit("tick", {})
    store.start(store.claim("w", 30))
    store.request(1, "cancel")
    clock.time += 31
    assert [job.state for job in store.sweep_lost()] == [JobState.CANCELLED]


def test_a_person_need_not_wait_for_what_a_dead_worker_held(store, clock):
    store.submit("tick", {})
    store.start(store.claim("w", 30))
    assert not store.has_expired_lease()
    clock.time += 31
    assert store.has_expired_lease()
    store.sweep_lost()
    assert not store.has_expired_lease()
    again = store.retry(1)
    assert (again.state, again.retries, again.error) == (JobState.QUEUED, 0, "")
    store.mark_lost(store.claim("w", 30))
    cancelled = store.request(1, "cancel")
    assert (cancelled.state, cancelled.error) == (JobState.CANCELLED, "Cancelled; its worker had died.")


def test_only_allowed_moves(store):
    store.submit("tick", {})
    with pytest.raises(JobError, match="claimed; it cannot become succeeded"):
        store.publish(store.claim("w", 30), lambda: pytest.fail("it was placed"), {})
    assert all(TRANSITIONS[state] <= {JobState.QUEUED} for state in ENDED)


def test_threads_share_a_store(tmp_path):
    store = JobStore(tmp_path / "jobs.sqlite3")
    threads = [threading.Thread(target=lambda: [store.submit("tick", {}) for _ in range(5)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.list()) == 40


def test_one_of_many_starts_the_worker(store, clock):
    assert [reserve_worker_start(store) for _ in range(3)] == [True, False, False]
    with WorkerPresence(store, "w"):
        assert live_workers(store) == ["w"]
    assert reserve_worker_start(store)
    clock.time += 16
    assert live_workers(store) == []
    assert reserve_worker_start(store)
    clock.time, clock.started = clock.time - 10, "boot 2"
    assert live_workers(store) == []


# -- the file


def test_pragmas(store):
    with store.database.read() as db:
        values = [
            db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "foreign_keys", "journal_mode")
        ]
        assert db.execute("PRAGMA busy_timeout").fetchone()[0] == 30_000
    safe = sqlite3.sqlite_version_info >= (3, 51, 3)
    assert values == [3, 1, "wal" if safe else "delete"]


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_left_alone(tmp_path, content):
    path = tmp_path / "jobs.sqlite3"
    path.write_bytes(content)
    with pytest.raises(JobError, match=r"is damaged.*left as it is"):
        JobStore(path)
    assert path.read_bytes() == content


def test_a_damaged_page_is_found(store):
    for _ in range(40):
        store.submit("tick", {"text": "x" * 800})
    data = bytearray(store.path.read_bytes())
    data[8192:24576] = b"\x5a" * 16384
    store.path.write_bytes(data)
    with pytest.raises(JobError, match="is damaged"):
        JobStore(store.path)


def test_a_newer_schema_is_refused(store):
    with store.database.write() as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(JobError, match=rf"newer Camelid \(schema 99; this one knows {VERSION}\)"):
        JobStore(store.path)


def test_a_deleted_file_does_not_come_back_empty(store):
    store.submit("tick", {})
    store.path.unlink()
    with pytest.raises(TableUnavailable, match="moved or deleted"):
        store.submit("tick", {})
    assert not store.path.exists()


def test_a_short_lock_is_waited_for_and_a_long_one_is_told(tmp_path):
    patient = JobStore(tmp_path / "jobs.sqlite3")
    short_timeout = JobStore(patient.path, busy_seconds=0.2)
    other = sqlite3.connect(patient.path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TableUnavailable, match=r"was locked by another process for 0\.2 s"):
        short_timeout.submit("tick", {})
    assert short_timeout.list() == []
    leaving = threading.Timer(0.5, lambda: other.execute("COMMIT"))
    leaving.start()
    assert patient.submit("tick", {}).id == 1
    leaving.join()
    other.close()


def test_a_file_made_by_two_at_once_is_one(tmp_path):
    stores: list[JobStore] = []
    threads = [threading.Thread(target=lambda: stores.append(JobStore(tmp_path / "j.sqlite3"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.submit("tick", {}).id for store in stores] == list(range(1, 9))
    assert [path.name for path in tmp_path.iterdir()] == ["j.sqlite3"]


def test_an_old_copy_of_a_row_is_stale(store):
    job = store.submit("tick", {})
    with pytest.raises(StaleAttempt):
        store.heartbeat(replace(job, epoch=1))


def test_the_one_statement_that_changes_a_row_compares_first(store):
    """State and epoch: should a check before it ever be missing, nothing is overwritten."""
    job = store.submit("tick", {})
    for was, at in (("running", 0), ("queued", 1)):
        with store.database.write() as db:
            values = to_values(replace(job, state=JobState.FAILED)) | {"was": was, "at": at}
            assert db.execute(UPDATE, values).fetchall() == []
    assert store.get(job.id) == job


def test_a_job_waits_for_those_it_depends_on(store):
    """Not for their end, but for their success; and nobody can take it before, not even by its number."""
    first = store.submit("tick", {})
    second = store.submit("tick", {}, depends_on=[first.id], priority=9)
    assert waits_for(store, second) == "after job 1 (queued)"
    assert store.claim("w", 30, only=second.id) is None
    failed = store.finish(store.start(store.claim("w", 30)), JobState.FAILED)
    assert failed.id == first.id
    assert store.claim("w", 30) is None
    assert waits_for(store, second) == "after job 1 (failed: `camelid jobs retry 1`)"
    store.retry(first.id)
    store.finish(store.start(store.claim("w", 30)), JobState.SUCCEEDED)
    assert waits_for(store, second) == ""
    assert store.claim("w", 30).id == second.id


def test_what_others_need_is_not_deleted_and_what_is_deleted_is_not_waited_for(store):
    first = store.submit("tick", {})
    second = store.submit("tick", {}, depends_on=[first.id])
    store.finish(store.start(store.claim("w", 30)), JobState.SUCCEEDED)
    with pytest.raises(JobError, match="Job 2 needs the result of job 1; `camelid jobs cancel 2` first"):
        store.delete(first.id, lambda: None)
    running = store.start(store.claim("w", 30))  # should its worker die, it is begun again
    with pytest.raises(JobError, match="Job 2 needs the result of job 1"):
        store.delete(first.id, lambda: None)
    store.finish(running, JobState.CANCELLED)
    store.delete(first.id, lambda: None)
    with pytest.raises(JobError, match="There is no job 1"):
        store.retry(second.id)
    with pytest.raises(JobError, match="There is no job 7"):
        store.submit("tick", {}, depends_on=[7])


def test_a_job_is_not_begun_before_its_time_unless_a_person_does(tmp_path):
    class Wall(Clock):
        time = 5000.0

        def wall(self) -> float:
            return self.time

    store = JobStore(tmp_path / "jobs.sqlite3", Wall())
    job = store.submit("tick", {}, earliest=6000.0)
    assert store.claim("w", 30) is None
    assert waits_for(store, job).startswith("not before 1970-01-01")
    assert store.claim("w", 30, only=job.id).id == job.id
    later = store.submit("tick", {}, earliest=6000.0)
    Wall.time = 6000.0
    assert store.claim("w", 30).id == later.id


def test_pausing_outranks_finishing_and_cancelling_both(store):
    queued, running, lost = (store.submit("tick", {}) for _ in range(3))
    assert store.request(queued.id, "pause").state == JobState.PAUSED
    held = store.start(store.claim("w", 30))
    assert held.id == running.id
    assert store.request(held.id, "finish").request == "finish"
    assert store.request(held.id, "pause").request == "pause"
    assert store.request(held.id, "finish").request == "pause"
    assert store.mark_lost(held).state == JobState.PAUSED
    assert store.retry(running.id).request == ""
    held = store.start(store.claim("w", 30, only=lost.id))
    store.mark_lost(held)
    assert store.request(lost.id, "pause").state == JobState.PAUSED
    held = store.start(store.claim("w", 30))
    assert [store.request(held.id, request).request for request in ("pause", "cancel", "pause")] == [
        "pause", "cancel", "cancel",
    ]  # fmt: skip


def test_only_a_job_that_waits_gets_another_priority(store):
    first, second = store.submit("tick", {}), store.submit("tick", {})
    assert store.prioritise(second.id, 5).priority == 5
    assert store.claim("w", 30).id == second.id
    with pytest.raises(JobError, match="Job 2 is claimed; only a job that waits"):
        store.prioritise(second.id, 1)
    assert store.claim("w", 30).id == first.id


OLD_SCHEMA = """
CREATE TABLE job (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  task TEXT NOT NULL, config TEXT NOT NULL, name TEXT NOT NULL, key TEXT UNIQUE, priority INTEGER NOT NULL,
  state TEXT NOT NULL, epoch INTEGER NOT NULL, request TEXT NOT NULL, owner TEXT NOT NULL, process TEXT NOT NULL,
  boot TEXT NOT NULL, lease REAL NOT NULL, lease_seconds REAL NOT NULL, not_before REAL NOT NULL,
  retries INTEGER NOT NULL, error TEXT NOT NULL, error_kind TEXT NOT NULL, summary TEXT NOT NULL,
  published TEXT NOT NULL, created REAL NOT NULL, started REAL, ended REAL
) STRICT;
CREATE INDEX job_by_state ON job (state, priority DESC, id);
CREATE TABLE worker (name TEXT PRIMARY KEY, pid INTEGER NOT NULL, boot TEXT NOT NULL, until REAL NOT NULL) STRICT;
INSERT INTO job VALUES (7, 'tick', '{"count": 3}', 'old', NULL, 2, 'queued', 1, '', '', '', 'b', 0, 0, 0, 0, '', '',
  '{}', '', 5.0, NULL, NULL);
PRAGMA user_version = 1
"""


def test_a_table_of_the_first_schema_becomes_one_of_this_however_many_open_it_at_once(tmp_path):
    path = tmp_path / "jobs.sqlite3"
    with sqlite3.connect(path) as old:
        old.executescript(OLD_SCHEMA)
    old.close()
    stores: list[JobStore] = []
    threads = [threading.Thread(target=lambda: stores.append(JobStore(path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stores) == 4
    job = stores[0].get(7)
    assert (job.name, job.config, job.priority, job.depends_on, job.earliest) == ("old", {"count": 3}, 2, (), 0.0)
    new = stores[1].submit("tick", {}, depends_on=[7])
    assert (new.id, stores[2].get(8).depends_on) == (8, (7,))
    fresh = JobStore(tmp_path / "fresh.sqlite3")
    with stores[3].database.read() as migrated, fresh.database.read() as made:
        columns = [[tuple(row)[1:4] for row in db.execute("PRAGMA table_info(job)")] for db in (migrated, made)]
    assert columns[0] == columns[1]


def test_a_migration_that_fails_leaves_the_table_as_it_was(tmp_path):
    path = tmp_path / "jobs.sqlite3"
    with sqlite3.connect(path) as old:
        old.executescript(OLD_SCHEMA)
    old.close()
    before = path.read_bytes()
    with pytest.raises(TableUnavailable):
        Database(path, "", 2, {1: "ALTER TABLE job ADD COLUMN one TEXT; ALTER TABLE none ADD COLUMN two TEXT"})
    assert path.read_bytes()[28:] == before[28:]  # the page counter may differ
    assert JobStore(path).get(7).name == "old"
