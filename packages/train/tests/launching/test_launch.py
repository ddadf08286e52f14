"""A job in two processes: what they say is passed on, one that is killed ends the run, and none is left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from camelid_core.artefacts import verify_directory
from camelid_core.errors import TrainingError
from camelid_core.integrity import sha256
from camelid_core.jobs.foreground import open_store
from camelid_core.jobs.job import JobState
from camelid_core.jobs.process_identity import ProcessIdentity
from camelid_core.jobs.run_directories import attempt_directory
from camelid_core.jobs.worker import Worker
from camelid_core.tasks import Interrupted
from camelid_core.testing import shadow_every_module
from camelid_train.distributed.context import EVENTS, LaunchedContext, SharedContext
from camelid_train.distributed.world import SINGLE_PROCESS
from camelid_train.launching import launch, train


@pytest.fixture
def ranks(attempt):
    context = attempt()
    ranks = context.directory / "ranks"
    ranks.mkdir()
    LaunchedContext.write(ranks, {"a": 1}, context)
    with contextlib.closing(LaunchedContext(ranks)) as order:
        yield ranks, order, context


def test_orders_arrive_as_they_were_given(ranks):
    _, order, context = ranks
    assert order.recipe == {"a": 1}
    assert (order.directory, order.output, order.earlier_attempts) == (
        context.directory,
        context.output,
        context.earlier_attempts,
    )


def test_what_is_said_is_passed_on_to_the_last_word_and_requests_arrive(ranks):
    directory, order, context = ranks
    running = Future()
    context.stop_at = (1, "save")

    def over():
        if order.stop_requested() == "save" and not running.done():
            order.emit("log", text="the last word")
            running.set_result(None)
        return Future.done(running)

    order.emit("progress", done=1)
    assert order.stop_requested() == ""
    watched = type("Watched", (), {"done": staticmethod(over)})()
    launch._relay_until_done(watched, directory, context)
    assert [event["done"] for event in context.events("progress")] == [1]
    assert [event["text"] for event in context.events("log")] == ["the last word"]
    assert (directory / EVENTS).exists()


def test_saving_outranks_finishing_and_one_answer_holds_until_the_next_step(attempt):
    context = attempt()
    shared = SharedContext(SINGLE_PROCESS, context)
    assert (shared.directory, shared.output) == (context.directory, context.output)
    assert shared.agree(7) == [[7]]
    context.request_stop("finish")
    assert shared.stop_requested() == ""
    assert not shared.agreed
    shared.agree()
    context.request_stop("save")
    assert shared.stop_requested() == "finish"
    shared.agree()
    assert shared.stop_requested() == "save"
    assert shared.agreed


def test_who_saved_and_left_is_interrupted_whatever_became_of_the_others(tmp_path):
    from camelid_core.jobs.attempt_result import AttemptResult, Outcome

    (tmp_path / "0").mkdir()
    AttemptResult(Outcome.SAVED).write(tmp_path / "0")
    running = Future()
    running.set_exception(RuntimeError("the others were ended"))
    with pytest.raises(Interrupted):
        launch._summary(running, tmp_path, 2)


def processes(home):
    """The processes of runs in this home directory, by rank."""
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, KeyError):  # who ends meanwhile has no environment any more
            if "camelid_train.launching.rank" in (line := process.cmdline()) and str(home) in line[-1]:
                found[int(process.environ()["RANK"])] = process
    return found


def be_two_machines(monkeypatch):
    """What is launched from now on meets as two machines would; both are this one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_PORT", str(free.getsockname()[1]))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    meetings = []
    for number in "01":
        monkeypatch.setenv("NODE_RANK", number)
        meetings.append(launch._rendezvous(2))
    monkeypatch.setattr(launch, "_rendezvous", lambda nodes: meetings.pop())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_process_ends_the_run_by_name_leaves_none_and_two_machines_go_on_with_it(
    recipe, attempt, home, stepgate, monkeypatch
):
    steps = ("train.batch_size=2", "train.accumulation=2", "train.max_steps=30")
    steps += ("train.save_steps=1", "train.preflight=false")
    first = attempt(1)
    sprung = shadow_every_module(Path.cwd())
    monkeypatch.setenv("CAMELID_FALLS", "1")
    config = recipe(*steps, "launch.processes=2")
    with pytest.raises(
        TrainingError, match=r"process 1 of 2 is gone, so the others were ended\. .* \(SIGKILL\)"
    ) as told:
        train(config, first)
    assert str(first.directory / "ranks/1/log.txt") in str(told.value)
    monkeypatch.delenv("CAMELID_FALLS")
    assert not processes(home)
    assert first.events("log")[0]["text"] == "Global batch 8 = 2 × 2 × 2 processes."

    shutil.copytree(first.directory, attempt_directory(home, 2, 1))
    machines = [attempt(2, job) for job in (1, 2)]
    be_two_machines(monkeypatch)
    config = recipe(*steps, "launch.nodes=2")
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(launch.launch, [config] * 2, machines))
    for metrics, machine in zip(results, machines, strict=True):
        assert metrics["steps"] == 30
        assert machine.events("log")[0]["text"] == "Global batch 8 = 2 × 2 × 2 machines."
        assert any(event["text"].startswith("Resuming from step-") for event in machine.events("log"))
        assert machine.events("progress")[-1]["done"] == 30
        assert verify_directory(machine.output).manifest.metrics == metrics
    adapters = {sha256(machine.output / "adapter_model.safetensors") for machine in machines}
    assert len(adapters) == 1, "each machine ends with the whole result"
    assert not processes(home)
    assert sprung() == set(), "no process imports what lies where it was started"


@pytest.mark.slow
def test_cancelled_while_loading_takes_longer_than_it_is_given_nobody_and_nothing_is_left(
    recipe, base, home, tmp_path, monkeypatch
):
    """The weights never come: they are a pipe that nobody writes into."""
    model = shutil.copytree(base(), tmp_path / "endless")
    (model / "model.safetensors").unlink()
    os.mkfifo(model / "model.safetensors")
    monkeypatch.setenv("TMPDIR", str(scratch := tmp_path / "scratch"))
    scratch.mkdir()
    store = open_store(home)
    config = recipe("launch.processes=2", "train.batch_size=4", f"model.name={str(model)!r}")
    job = store.submit("train", config.model_dump(mode="json"))
    worker = threading.Thread(target=Worker(store, save_seconds=0.5).run_job, args=(job.id,))
    worker.start()
    while len(processes(home)) < 2:
        assert worker.is_alive(), store.get(job.id).error
        time.sleep(0.1)
    store.request(job.id, "cancel")
    worker.join()

    done = store.get(job.id)
    assert (done.state, done.error) == (
        JobState.CANCELLED,
        "Cancelled; it did not leave in time and was ended. `camelid jobs retry 1` begins anew: nothing was saved yet.",
    )
    assert not processes(home)
    directory = attempt_directory(home, job.id, 1)
    assert not ProcessIdentity.read(directory).alive
    assert {path.name for path in directory.iterdir()} == {"events.jsonl", "log.txt", "process.json", "ranks"}
    assert [path for path in scratch.rglob("*") if path.is_file()] == []
