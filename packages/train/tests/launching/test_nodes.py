"""One run on two workers, as on two machines: it equals that of one process, and ends everywhere at once."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from camelid_core.events import read_events
from camelid_core.jobs.foreground import open_store
from camelid_core.jobs.job import ENDED, JobState
from camelid_core.jobs.process_identity import ProcessIdentity
from camelid_core.jobs.run_directories import EVENTS, attempts
from camelid_core.subprocesses import module_command
from camelid_train.run import train
from safetensors.torch import load_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PATIENCE = 600
"""Seconds that only what hangs takes, on a machine ten times slower than any."""
RANK = "camelid_train.launching.rank"
ADAPTER = "adapter_model.safetensors"
STEPS = ("train.max_steps=6", "train.save_steps=1", "train.preflight=false", "method.dropout=0.0")


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


class Cluster:
    """Workers in processes of their own, at one home directory whose file `steps` says how far runs may go."""

    def __init__(self, home):
        self.home, self.store = home, open_store(home)
        self.workers = []

    def start(self, count=1):
        for _ in range(count):
            command = module_command("camelid_core.cli", "worker", "--lease", "60")
            self.workers.append(subprocess.Popen(command, env={**os.environ, "CAMELID_HOME": str(self.home)}))

    def worker_of(self, job):
        pid = int(job.owner.split(":")[1])
        return next(worker for worker in self.workers if worker.pid == pid)

    def permit(self, steps):
        (self.home / "steps").write_text(str(steps))

    def submit(self, config, name):
        return self.store.submit("train", config.model_dump(mode="json"), name)

    def await_step(self, job, epoch, step):
        """The step was saved in that attempt."""
        directory = self.home / "runs" / f"{job.id:06d}" / str(epoch) / "checkpoints"

        def reached():
            found = self.store.get(job.id)
            assert found.state not in ENDED, found.error
            return any(int(path.name[5:]) >= step for path in directory.glob("step-*"))

        until(reached)

    def await_end(self, job):
        until(lambda: self.store.get(job.id).state in ENDED)
        return self.store.get(job.id)

    def run_out(self, job):
        with self.store.database.write() as db:
            db.execute("UPDATE job SET lease = 0 WHERE id = ?", (job.id,))

    def processes(self):
        """All that belong to attempts of this home directory."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                line = process.cmdline()
                if any(str(self.home) in each for each in line) and {"camelid_core.jobs.attempt", RANK} & set(line):
                    found.append(process)
        return found


@pytest.fixture
def cluster(home, stepgate):
    home.mkdir(exist_ok=True)
    cluster = Cluster(home)
    yield cluster
    for worker in cluster.workers:
        worker.kill()
        worker.wait()
    for process in cluster.processes():
        process.kill()


def farthest(one, other):
    first, second = (load_file(directory / ADAPTER) for directory in (one, other))
    assert first.keys() == second.keys()
    return max(float((first[key] - second[key]).abs().max()) for key in first)


def test_two_workers_train_one_run_whatever_ends_it_in_between(cluster, recipe, attempt):
    job = cluster.submit(recipe(*STEPS, "launch.nodes=2", "train.batch_size=4"), "both")
    cluster.permit(2)
    cluster.start(2)
    cluster.await_step(job, 1, 2)
    _, member = cluster.store.nodes(job)
    child = ProcessIdentity.read(attempts(cluster.home, member.id)[0])

    dead = cluster.worker_of(member)
    dead.kill()
    dead.wait()
    cluster.run_out(member)
    cluster.start()
    until(lambda: cluster.store.get(job.id).epoch == 2)
    until(lambda: not child.alive)
    cluster.permit(4)
    cluster.await_step(job, 2, 4)
    assert cluster.store.get(job.id).retries == 1
    for node in cluster.store.nodes(job):
        events, _ = read_events(attempts(cluster.home, node.id)[0] / EVENTS)
        assert next(event["text"] for event in events if event["kind"] == "log" and "Resuming" in event["text"])

    asked = time.monotonic()
    cluster.store.request(job.id, "cancel")
    nodes = [attempts(cluster.home, node.id)[0] for node in cluster.store.nodes(job)]
    until(lambda: all((node / "ranks" / "stop").exists() for node in nodes))
    cluster.permit(5)
    done = cluster.await_end(job)
    until(lambda: not cluster.processes())
    print("cancel freed everything after", time.monotonic() - asked)
    assert done.state == JobState.CANCELLED
    assert "goes on from step" in done.error

    cluster.permit(100)
    cluster.store.retry(job.id)
    done = cluster.await_end(job)
    assert (done.state, done.error) == (JobState.SUCCEEDED, "")
    one = attempt(job=77)
    train(recipe(*STEPS, "train.batch_size=8"), one)
    print("farthest", farthest(one.output, Path(done.published)))
    assert farthest(one.output, Path(done.published)) < 1e-4
