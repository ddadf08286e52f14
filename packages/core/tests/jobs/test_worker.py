"""The worker in this process: how attempts end, and where their results are published."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from camelid_core.errors import JobError
from camelid_core.jobs.job import JobState
from camelid_core.jobs.publication import destination
from camelid_core.jobs.run_directories import EVENTS, LOG, OUTPUT, PLACEMENT, RESULT, attempt_directory
from camelid_core.jobs.stop_signals import StopSignal
from camelid_core.jobs.store import JobStore
from camelid_core.jobs.watchdog import cap_log


def run(store, worker, name="", **config):
    job = store.submit("tick", config, name)
    done = worker.run_job(job.id)
    assert done == store.get(job.id)
    return done


def attempt_of(home: Path, job) -> Path:
    return attempt_directory(home, job.id, job.epoch)


def test_success_is_published_under_its_name(store, worker, home):
    events = []
    job = worker.run_job(store.submit("tick", {"count": 3}, "mine").id, events.append)
    assert (job.state, job.error, job.summary) == (JobState.SUCCEEDED, "", {"ticks": 3, "first": 0})
    assert Path(job.published) == home / "artefacts" / "mine"
    assert json.loads((Path(job.published) / "ticks.json").read_text()) == 3
    assert [event["done"] for event in events if event["kind"] == "progress"] == [1, 2, 3]
    assert (attempt_of(home, job) / EVENTS).exists()
    assert job.process.startswith("pid ")


def test_names_we_chose_count_up_and_given_ones_are_refused_before_the_work(store, worker, home, tmp_path):
    assert [Path(run(store, worker, "a").published).name for _ in range(2)] == ["a", "a-2"]
    assert Path(run(store, worker).published).name == "tick-3"
    assert Path(run(store, worker, output="mine").published) == home / "artefacts" / "mine"
    (tmp_path / "empty").mkdir()
    assert run(store, worker, output=str(tmp_path / "empty")).published == str(tmp_path / "empty")
    job = run(store, worker, output=str(tmp_path / "empty"))
    assert (job.state, job.error_kind) == (JobState.FAILED, "job_error")
    assert "exists already" in job.error
    assert not (attempt_of(home, job) / "state.json").exists()
    assert run(store, worker, output="../x").error_kind == "usage_error"


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_an_attempt_is_for_its_owner_alone_and_what_it_publishes_is_not(store, worker, home, tmp_path, umask):
    before = os.umask(umask)
    try:
        job = run(store, worker, output=str(tmp_path / "for" / "all"))
    finally:
        os.umask(before)
    attempt = attempt_of(home, job)
    told = [attempt / name for name in (LOG, EVENTS, RESULT, PLACEMENT, "process.json")]
    modes = {path: path.stat().st_mode & 0o777 for path in (home, *home.rglob("*"), *(tmp_path / "for").rglob("*"))}
    assert {modes[path] for path in (home, home / "runs", attempt.parent, attempt)} == {0o700}
    assert {modes[path] for path in (store.path, *told)} == {0o600}
    published = Path(job.published)
    assert (modes[published], modes[published / "ticks.json"]) == (0o777 & ~umask, 0o666 & ~umask)


def test_a_place_taken_meanwhile_keeps_the_result_for_a_retry(store, worker, home, tmp_path):
    place = tmp_path / "there"

    def take(event):
        place.mkdir(exist_ok=True)
        (place / "note").touch()

    job = worker.run_job(store.submit("tick", {"output": str(place)}).id, take)
    assert (job.state, "exists already" in job.error) == (JobState.FAILED, True)
    (place / "note").unlink()
    store.retry(job.id)
    again = worker.run_job(job.id)
    assert (again.state, again.published) == (JobState.SUCCEEDED, str(place))
    assert not attempt_of(home, again).exists(), "the work was done again"


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("file/out", "Not a directory"),
        ("file/deep/out", "Not a directory"),
        ("fifo/out", "Not a directory"),
        ("loop/out", "Too many levels of symbolic links"),
        ("/proc/out", "No such file or directory"),  # it says that it can be written
        ("/dev/full/out", "Not a directory"),
    ],
)
def test_a_place_that_cannot_be_written_is_said_before_the_work_and_nothing_is_left(place, why, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    given = str(tmp_path / place)
    with pytest.raises(JobError) as told:
        destination(SimpleNamespace(output=given))
    assert str(told.value) == f"nothing can be written to {given!r}: {why}. Give another output."
    assert {path.name for path in tmp_path.iterdir()} == {"file", "loop", "fifo"}


def test_a_place_that_went_bad_meanwhile_keeps_the_result_for_a_retry(store, worker, home, tmp_path):
    place = tmp_path / "deep" / "there"
    job = worker.run_job(
        store.submit("tick", {"output": str(place)}).id, lambda event: (tmp_path / "deep").touch(exist_ok=True)
    )
    assert (job.state, job.error_kind) == (JobState.FAILED, "job_error")
    assert job.error.startswith(f"the result cannot be put to {str(place)!r}: File exists. It is kept: mend that, and")
    (tmp_path / "deep").unlink()
    store.retry(job.id)
    again = worker.run_job(job.id)
    assert (again.state, again.published) == (JobState.SUCCEEDED, str(place))
    assert not attempt_of(home, again).exists(), "the work was done again"


def test_another_file_system(store, worker, tmp_path):
    memory = Path("/dev/shm")
    assert memory.is_dir(), "this needs a second file system: run it on Linux, with /dev/shm"
    assert memory.stat().st_dev != tmp_path.stat().st_dev, (
        "this needs pytest's --basetemp on another device than /dev/shm"
    )
    place = memory / f"camelid-{tmp_path.name}-{threading.get_ident()}"
    try:
        job = run(store, worker, output=str(place / "out"))
        assert (job.state, job.error) == (JobState.SUCCEEDED, "")
        assert [path.name for path in place.iterdir()] == ["out"]
        assert (place / "out" / "camelid.json").exists()
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize(
    ("then", "state", "kind", "sentence"),
    [
        ("crash", JobState.FAILED, "crash", "ZeroDivisionError: the bug"),
        ("exit", JobState.FAILED, "crash", "SystemExit: 3"),
        ("hard exit", JobState.FAILED, "crash", "exit code 9"),
        ("bad data", JobState.FAILED, "data_error", "Row 3 is bad; mend it."),
        ("memory", JobState.FAILED, "out_of_memory", "smaller batch size"),
        ("disk", JobState.PAUSED, "disk_full", "Free some space"),
        ("kill", JobState.FAILED, "killed_by_signal_9", "ran out of memory"),
        ("damaged", JobState.FAILED, "artefact_error", "ticks.json"),
        ("nothing", JobState.SUCCEEDED, "", ""),
    ],
)
def test_ends(store, worker, home, then, state, kind, sentence):
    job = run(store, worker, count=1, then=then)
    assert (job.state, job.error_kind) == (state, kind)
    assert sentence in job.error
    assert "Traceback" not in job.error
    assert not (attempt_of(home, job) / OUTPUT).exists(), "half a result takes room"
    assert not list(attempt_of(home, job).glob(".*")), "and so does half a checkpoint"
    assert not (home / "artefacts").exists() or not list((home / "artefacts").iterdir())
    assert ("Traceback" in (attempt_of(home, job) / LOG).read_text()) == (
        then in {"crash", "exit", "bad data", "memory", "disk"}
    )


def test_what_is_wrong_before_the_task_begins(store, worker):
    assert "count: Input should be a valid integer" in run(store, worker, count="many").error
    job = worker.run_job(store.submit("tock", {}).id)
    assert job.state == JobState.FAILED


def test_a_damaged_result_is_made_anew(store, worker, home):
    job = run(store, worker, count=1, then="damaged")
    store.retry(job.id)
    again = worker.run_job(job.id)
    assert (again.epoch, again.error_kind) == (2, "artefact_error")
    assert (attempt_of(home, again) / EVENTS).exists(), "the damaged result was tried again"


@pytest.mark.parametrize(("request_", "state"), [("cancel", JobState.CANCELLED), ("pause", JobState.PAUSED)])
def test_a_stopped_job_saves_and_retry_goes_on(store, worker, request_, state):
    job = store.submit("tick", {"count": 100_000, "seconds": 0.02})
    asked = []

    def stop(event):
        if event["done"] > 3 and not asked:
            asked.append(store.request(job.id, request_))

    done = worker.run_job(job.id, stop)
    assert (done.state, done.error_kind) == (state, str(state))
    assert done.error == f"{state.capitalize()}. `camelid jobs retry {job.id}` goes on from what it kept, if anything."
    store.retry(job.id)
    done = worker.run_job(job.id, lambda event: store.request(job.id, "finish"))
    assert (done.state, done.epoch) == (JobState.SUCCEEDED, 2)
    assert 3 < done.summary["first"] < done.summary["ticks"] < 100_000


def test_ctrl_c_in_the_foreground_cancels(store, worker):
    stop = StopSignal()
    job = store.submit("tick", {"count": 100_000})
    job = worker.run_job(job.id, lambda event: stop() if not stop else None, stop)
    assert job.state == JobState.CANCELLED
    assert job.error.startswith("Cancelled. `camelid jobs retry")


def test_ctrl_c_twice_does_not_wait(store, worker):
    stop = StopSignal()
    job = worker.run_job(store.submit("tick", {"count": 100_000, "then": "ignores_stop"}).id, stop, stop)
    assert job.state == JobState.CANCELLED
    assert "did not leave in time" in job.error


def test_cancel_ends_the_whole_group(store, worker, home, alive, until):
    job = store.submit("tick", {"count": 100_000, "then": "sleepers"})
    thread = threading.Thread(target=worker.run_once, daemon=True)
    thread.start()
    note = attempt_directory(home, job.id, 1) / "sleepers.json"
    until(note.exists)
    sleepers = json.loads(note.read_text())
    assert all(map(alive, sleepers))
    store.request(job.id, "cancel")
    thread.join()
    assert store.get(job.id).state == JobState.CANCELLED
    until(lambda: not any(map(alive, sleepers)))


@pytest.mark.parametrize(
    ("then", "told"),
    [("ignores_stop", "Cancelled; it did not leave in time and was ended. "), ("slow", "Cancelled. ")],
)
def test_attempts_that_ignore_stop_are_killed_and_announced_seconds_are_waited_for(store, short_deadline, then, told):
    job, asked = store.submit("tick", {"count": 100_000, "then": then}), []
    done = short_deadline.run_job(job.id, lambda event: asked or asked.append(store.request(job.id, "cancel")))
    assert done.state == JobState.CANCELLED
    assert done.error.startswith(f"{told}`camelid jobs retry")


def test_a_worker_that_died_between_rename_and_commit(store, worker, home):
    """The next attempt finds the result in its place and writes it down, once."""
    job = run(store, worker, "mine", output="mine")
    with store.database.write() as db:
        db.execute("UPDATE job SET state = 'queued', published = '', ended = NULL")
    again = worker.run_job(job.id)
    assert (again.state, again.published) == (JobState.SUCCEEDED, job.published)
    assert [path.name for path in (home / "artefacts").iterdir()] == ["mine"]


def test_something_else_in_its_place_is_not_taken_for_the_result(store, worker, home):
    """The worker died between rename and commit, and before the next one came somebody moved the result away."""
    job = run(store, worker, "mine", output="mine")
    with store.database.write() as db:
        db.execute("UPDATE job SET state = 'queued', published = '', ended = NULL")
    Path(job.published).rename(home / "moved")
    other = home / "artefacts" / "mine"
    other.mkdir()
    (other / "note").touch()
    again = worker.run_job(job.id)
    assert (again.state, again.published) == (JobState.FAILED, "")
    assert again.error.startswith("the result was put to its place, and is there no more")
    shutil.rmtree(other)
    store.retry(job.id)
    again = worker.run_job(job.id)
    assert (again.state, again.published, again.epoch) == (JobState.SUCCEEDED, str(other), 3)
    assert attempt_of(home, again).exists(), "the work was not done again"


def test_a_new_table_takes_nothing_of_an_old_one(store, worker, home):
    """It was damaged and moved away: what an old job left is neither another's result nor in its way."""
    old = run(store, worker, count=2)
    (home / "runs" / ("9" * 30)).mkdir()  # no job of ours
    store.path.rename(home / "damaged")
    JobStore(store.path)
    job = run(store, worker, count=3)
    assert (job.id, job.state, job.summary) == (old.id + 1, JobState.SUCCEEDED, {"ticks": 3, "first": 0})
    assert job.published != old.published
    assert attempt_of(home, old).exists()
    store.path.write_bytes((home / "damaged").read_bytes())  # and a copy from before
    assert store.submit("tick", {}).id == job.id + 1


def test_a_directory_that_exists_is_no_attempt(store, worker, home):
    job = store.submit("tick", {})
    attempt_directory(home, job.id, 1).mkdir(parents=True)
    assert (worker.run_job(job.id).state, store.get(job.id).error_kind) == (JobState.FAILED, "crash")


def test_a_long_log_is_cut(tmp_path):
    with (tmp_path / "log").open("ab", buffering=0) as log:
        log.write(b"x" * 3_000_000)
        cap_log(log.fileno(), 2_000_000)
        log.write(b"after")
    text = (tmp_path / "log").read_bytes()
    assert len(text) < 1_100_000
    assert text.endswith(b"[the log was over 2 MB; the rest was cut here]\nafter")
