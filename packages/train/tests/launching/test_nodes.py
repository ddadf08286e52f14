"""One run on two workers, as on two machines: it equals that of one process, and ends everywhere at once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from camelid_core.events import read_events
from camelid_core.integrity import sha256
from camelid_core.jobs.foreground import open_store
from camelid_core.jobs.job import ENDED, JobState
from camelid_core.jobs.job_needs import needs_of
from camelid_core.jobs.process_identity import ProcessIdentity
from camelid_core.jobs.run_directories import EVENTS, attempt_directory, attempts
from camelid_core.subprocesses import module_command
from camelid_train.run import train
from safetensors.torch import load_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PATIENCE = 600
"""Seconds that only what hangs takes, on a machine ten times slower than any."""
RANK = "camelid_train.launching.rank"
ADAPTER = "adapter_model.safetensors"
NODES = ("launch.nodes=2", "launch.cores=1", "train.batch_size=4")
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

    def vanish(self, job):
        """Kill the worker that has it; its attempt lives for as long as it does not notice."""
        pid = int(job.owner.split(":")[1])
        worker = next(worker for worker in self.workers if worker.pid == pid)
        worker.kill()
        worker.wait()

    def child(self, job):
        return ProcessIdentity.read(attempts(self.home, job.id)[0])

    def permit(self, steps):
        (self.home / "steps").write_text(str(steps))

    def submit(self, config, name):
        values = config.model_dump(mode="json")
        return self.store.submit("train", values, name, needs=needs_of(self.store, "train", values))

    def await_step(self, job, epoch, step):
        """The step was saved in that attempt."""
        directory = self.home / "runs" / f"{job.id:06d}" / str(epoch) / "checkpoints"

        def reached():
            found = self.store.get(job.id)
            assert found.state not in ENDED, found.error
            return any(int(path.name[5:]) >= step for path in directory.glob("step-*"))

        until(reached)

    def await_run(self, job, epoch):
        """The processes of all nodes have loaded the checkpoint, in that attempt."""
        logs = [attempt_directory(self.home, node.id, epoch) / EVENTS for node in self.store.nodes(job)]
        until(lambda: all("resume" in {event["kind"] for event in read_events(log)[0]} for log in logs))

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


def test_two_workers_train_one_run_as_one_process_does_although_a_machine_vanishes(cluster, recipe, attempt):
    job = cluster.submit(recipe(*STEPS, *NODES), "both")
    cluster.permit(2)
    cluster.start(2)
    cluster.await_step(job, 1, 2)
    _, member = cluster.store.nodes(job)
    child = cluster.child(member)
    cluster.vanish(member)
    cluster.run_out(member)
    cluster.start()
    until(lambda: cluster.store.get(job.id).epoch == 2)
    until(lambda: not child.alive)
    cluster.permit(100)
    done = cluster.await_end(job)

    assert (done.state, done.error, done.retries) == (JobState.SUCCEEDED, "", 1)
    for node in cluster.store.nodes(job):
        events, _ = read_events(attempts(cluster.home, node.id)[0] / EVENTS)
        texts = [event["text"] for event in events if event["kind"] == "log"]
        assert any(text.startswith("Resuming from step-") for text in texts), "all from node 0's checkpoint"
    assert "Global batch 8 = 4 × 2 machines." in texts
    one = attempt(job=77)
    train(recipe(*STEPS, "train.batch_size=8"), one)
    assert farthest(one.output, Path(done.published)) < 1e-4
    until(lambda: not cluster.processes())


@pytest.mark.exhaustive
def test_however_it_is_stopped_it_ends_with_the_same_weights_to_the_bit(cluster, recipe):
    config = recipe(*STEPS, *NODES)
    cluster.permit(100)
    cluster.start(2)
    undisturbed = cluster.await_end(cluster.submit(config, "undisturbed"))

    cluster.permit(2)
    job = cluster.submit(config, "disturbed")
    cluster.await_step(job, 1, 2)
    children = [cluster.child(node) for node in cluster.store.nodes(job)]
    os.kill(children[1].pid, signal.SIGKILL)
    until(lambda: cluster.store.get(job.id).retries == 1)
    killed = cluster.store.get(job.id)
    assert killed.error.startswith("Node 1: Its process was ended by signal 9 (SIGKILL)")
    until(lambda: not any(child.alive for child in children))
    cluster.await_run(job, 2)
    cluster.store.request(job.id, "cancel")
    nodes = [attempts(cluster.home, node.id)[0] for node in cluster.store.nodes(job)]
    until(lambda: all((node / "ranks" / "stop").exists() for node in nodes))  # the gate lets through who was asked
    asked = time.monotonic()
    cluster.permit(3)
    cancelled = cluster.await_end(job)
    until(lambda: not cluster.processes())
    print(f"all processes left {time.monotonic() - asked:.1f} s after they were asked")
    assert (cancelled.state, "goes on from step" in cancelled.error) == (JobState.CANCELLED, True)

    cluster.permit(100)
    cluster.store.retry(job.id)
    done = cluster.await_end(job)
    assert sha256(Path(done.published) / ADAPTER) == sha256(Path(undisturbed.published) / ADAPTER)
