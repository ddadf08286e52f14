"""Attempts that share their directory and no job table with the worker: who holds the job, and who ends what."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from camelid_core.jobs import detached_order
from camelid_core.jobs.attempt_result import AttemptResult, ExitCode, Outcome
from camelid_core.jobs.detached_handle import ClusterUnreachable, DetachedHandle, can_attach, end_detached, may_run
from camelid_core.jobs.detached_order import BeatenLease, Beats, DetachedOrder, last_request
from camelid_core.jobs.job import ACTIVE, Job
from camelid_core.jobs.process_identity import ProcessIdentity
from camelid_core.jobs.run_directories import LOG, attempt_directory
from camelid_core.subprocesses import module_command

MARK = "the mark of these tests"


@pytest.fixture
def directory(home: Path) -> Path:
    place = attempt_directory(home, 7, 3)
    place.mkdir(parents=True)
    return place


def order(directory: Path, patience: float = 300.0, **config: object) -> Job:
    job = Job(7, "tick", {"count": 100_000, **config}, epoch=3)
    DetachedOrder(job, MARK, "ticking", patience).write(directory)
    return job


def holds(lease: BeatenLease) -> bool:
    job = lease.get(7)
    return job.state in ACTIVE and job.lease >= lease.clock.now()


def test_it_holds_the_job_while_beats_change_and_no_longer(directory, monkeypatch):
    order(directory, patience=30.0)
    lease = BeatenLease(directory)
    now = lease.clock.now()
    monkeypatch.setattr(lease.clock, "now", lambda: now)
    Beats(directory).keep()
    assert holds(lease)
    now += 29
    assert holds(lease)
    now += 2
    assert not holds(lease), "nobody has watched it for 31 s"
    Beats(directory).keep()  # a worker that was started anew
    assert holds(lease)
    now += 31
    assert not holds(lease)


@pytest.mark.parametrize(("asked", "request_of_job"), [("finish", "finish"), ("save", "cancel")])
def test_what_people_request_reaches_it(directory, asked, request_of_job):
    order(directory)
    lease, beats = BeatenLease(directory), Beats(directory)
    beats.keep()
    assert lease.get(7).request == ""
    beats.request(asked)
    assert lease.get(7).request == request_of_job
    assert last_request(directory) == asked


def test_one_that_is_to_leave_does_not_hold_the_job(directory):
    order(directory)
    lease = BeatenLease(directory)
    Beats(directory).request("leave")
    assert not holds(lease)


def test_beats_of_two_workers_differ(directory):
    files = []
    for _ in range(2):
        Beats(directory).keep()
        files.append((directory / "beat.json").read_text())
    assert files[0] != files[1]


class Cluster:
    """A cluster that says what it is told to."""

    identity = "job 1 of a cluster"

    def __init__(self, *says: object) -> None:
        self.says, self.ended = list(says), 0

    def exit_code(self):
        said = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        if isinstance(said, Exception):
            raise said
        return said

    def end(self) -> None:
        self.ended += 1
        self.says = [137]


@pytest.mark.parametrize(("said", "code"), [(0, 0), (76, 76), (137, -9), (143, -15)])
def test_a_signal_is_told_as_a_signal(directory, said, code):
    handle = DetachedHandle(Cluster(said), directory)
    assert handle.poll() == code
    assert AttemptResult.read(directory) is None


def test_a_silent_cluster_has_lost_it_after_a_while_unless_it_speaks_again(directory, monkeypatch):
    silent, now = ClusterUnreachable("no answer"), time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    handle = DetachedHandle(Cluster(None, silent, None, silent, silent), directory, silence_seconds=60)
    for seconds in (0, 50, 50, 50):
        now += seconds
        assert handle.poll() is None
    now += 61
    assert handle.poll() == ExitCode.FENCED
    result = AttemptResult.read(directory)
    assert (result.how, result.message) == (Outcome.FENCED, "The cluster has lost it: job 1 of a cluster.")
    assert may_run(directory), "it may run where nobody sees it, and is to be killed before another begins"


def test_the_result_of_a_lost_one_stays(directory, monkeypatch):
    AttemptResult(Outcome.SUCCEEDED, summary={"ticks": 1}).write(directory)
    handle = DetachedHandle(Cluster(ExitCode.FENCED), directory)
    assert handle.poll() == ExitCode.FENCED
    assert AttemptResult.read(directory).summary == {"ticks": 1}
    assert not may_run(directory)


def test_a_worker_goes_on_with_what_runs_and_was_asked_for_nothing(directory):
    silent = Cluster(ClusterUnreachable("no answer"))
    assert can_attach(Cluster(None), directory)
    assert not can_attach(Cluster(1), directory)
    with pytest.raises(ClusterUnreachable):
        can_attach(silent, directory)
    AttemptResult(Outcome.FENCED).write(directory)
    assert can_attach(Cluster(None), directory), "the cluster has found it again"
    assert not can_attach(silent, directory), "lost, and still nobody answers: the job does not wait for ever"
    Beats(directory).request("save")
    assert not can_attach(Cluster(None), directory), "it is leaving"


def test_ending_it_asks_it_to_leave_and_the_cluster_to_kill_it(directory):
    cluster = Cluster(None)
    end_detached(cluster, directory)
    assert (last_request(directory), cluster.ended) == ("leave", 1)
    gone = Cluster(ClusterUnreachable("no answer"))
    end_detached(gone, directory)  # it will read that it is to leave


def start(directory: Path) -> subprocess.Popen:
    return subprocess.Popen(module_command("camelid_core.jobs.detached", str(directory)), stderr=subprocess.PIPE)


@pytest.mark.slow
def test_ended_it_kills_all_of_the_attempt_and_nothing_else(directory, alive, until):
    order(directory, then="sleepers", seconds=0.05)
    Beats(directory).keep()
    stranger = subprocess.Popen(["sleep", "300"])
    with start(directory) as process:
        until((directory / "sleepers.json").exists)
        pids = [ProcessIdentity.read(directory).pid, *json.loads((directory / "sleepers.json").read_text())]
        process.terminate()
        assert process.wait(300) == 128 + signal.SIGKILL
    until(lambda: not any(map(alive, pids)))
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


@pytest.mark.slow
def test_an_attempt_whose_cluster_gives_it_up_saves_and_leaves(directory, alive, until):
    order(directory, seconds=0.05)
    Beats(directory).keep()
    with start(directory) as process:
        until((directory / "state.json").exists)
        pid = ProcessIdentity.read(directory).pid
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    until(lambda: AttemptResult.read(directory))
    assert AttemptResult.read(directory).how == Outcome.FENCED
    until(lambda: not alive(pid))


def test_another_version_is_refused_with_both(directory, monkeypatch):
    monkeypatch.setattr(detached_order, "own_version", lambda: "9.9.9")
    order(directory)
    with start(directory) as process:
        assert process.wait(300) == ExitCode.FAILED
        said = process.stderr.read().decode()
    assert "the worker has 9.9.9" in said
    assert AttemptResult.read(directory).message == said.strip()
    assert not (directory / LOG).exists()


def test_without_an_order_it_says_that_the_home_is_to_be_shared(tmp_path):
    done = subprocess.run(
        module_command("camelid_core.jobs.detached", str(tmp_path)), capture_output=True, text=True, timeout=300
    )
    assert "must see Camelid's home" in done.stderr
    assert "Traceback" not in done.stderr
