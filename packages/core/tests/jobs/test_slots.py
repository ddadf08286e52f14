"""Slots: what the table gives out to workers with machines, and real workers that run jobs side by side."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from camelid_core.commands.jobs import app
from camelid_core.errors import JobError
from camelid_core.jobs.executors import LocalExecutor
from camelid_core.jobs.job import JobState
from camelid_core.jobs.job_needs import possible_needs
from camelid_core.jobs.presence import WorkerPresence, live_machines
from camelid_core.jobs.resources import Gpu, Needs, Resources
from camelid_core.jobs.run_directories import attempt_directory
from camelid_core.jobs.start_conditions import reasons_to_wait, waits_for
from camelid_core.jobs.store import JobStore
from camelid_core.jobs.this_machine import this_machine
from camelid_core.jobs.worker import Worker
from typer.testing import CliRunner

GB = 10**9
BOX = Resources("m", "box", 4, 16 * GB, (Gpu("GPU-a", "A", 24 * GB), Gpu("GPU-b", "B", 24 * GB)))
PLAIN = Resources("p", "plain", 2, 16 * GB)
HALF = Needs(gpus=1, gpu_memory=10 * GB, cores=1)


def claimed(store: JobStore, machine: Resources | None = BOX) -> int | None:
    job = store.claim("w", 60.0, machine=machine)
    return None if job is None else job.id


def submit(store: JobStore, *all_needs: Needs | None, priority: int = 0, **config: object) -> list[int]:
    return [store.submit("tick", config, needs=needs, priority=priority).id for needs in all_needs]


def test_several_workers_of_one_machine_share_it_and_the_assignment_is_recorded(store):
    submit(store, *[HALF] * 6)
    other = JobStore(store.path)
    assert [claimed(each) for each in (store, other, store, other, store)] == [1, 2, 3, 4, None]
    given = [store.get(number).assigned for number in (1, 2, 3, 4)]
    assert sorted(each.cards[0] for each in given) == ["GPU-a", "GPU-a", "GPU-b", "GPU-b"]
    assert {(each.machine, each.host, each.gpu_memory, each.cores) for each in given} == {("m", "box", 10 * GB, 1)}
    assert claimed(store, replace(BOX, machine="another")) == 5
    store.finish(store.start(store.get(2)), JobState.FAILED)
    assert claimed(store) == 6


def test_a_job_that_does_not_fit_now_is_not_overtaken_not_even_by_one_of_lower_priority(store):
    submit(store, HALF, replace(HALF, gpus=2, gpu_memory=0), HALF)
    low = submit(store, Needs(cores=0), priority=-1)[0]
    assert [claimed(store) for _ in range(2)] == [1, None]
    with WorkerPresence(store, "w", BOX):
        reasons = reasons_to_wait(store, store.list())
        first = "GPUs: 2 GPUs needed, 1 free beside job 1"
        assert reasons == {
            1: "", 2: first, 3: f"behind job 2, which is first in line ({first})",
            low: f"behind job 2, which is first in line ({first})",
        }  # fmt: skip
    assert reasons_to_wait(store, store.list())[3] == "", "without a live worker nothing is known of machines"
    store.finish(store.start(store.get(1)), JobState.FAILED)
    assert [claimed(store) for _ in range(2)] == [2, None]


def test_a_job_that_can_never_fit_this_machine_is_passed_over_and_says_so_where_none_has_room(store):
    huge = Needs(gpus=1, gpu_memory=80 * GB, least=80 * GB)
    submit(store, huge, HALF)
    assert claimed(store) == 2
    with WorkerPresence(store, "w", BOX):
        assert waits_for(store, store.get(1)) == (
            "no machine has room for it: it needs 80.0 GB on a GPU; box has 24.0 GB on its largest"
        )
        big = Resources("big", "big", 8, 64 * GB, (Gpu("GPU-c", "C", 90 * GB),))
        with WorkerPresence(store, "v", big):
            assert [each.host for each in live_machines(store)] in (["big", "box"], ["box", "big"])
            assert waits_for(store, store.get(1)) == ""
            assert claimed(store, big) == 1


def test_a_job_whose_needs_are_not_known_runs_alone(store):
    submit(store, HALF, None, HALF)
    assert [claimed(store) for _ in range(2)] == [1, None]
    store.finish(store.start(store.get(1)), JobState.FAILED)
    assert [claimed(store) for _ in range(2)] == [2, None]
    assert store.get(2).assigned.cards == ("GPU-a", "GPU-b")


def test_what_a_person_runs_at_once_is_counted_as_well(store):
    submit(store, *[replace(HALF, gpu_memory=0)] * 4)
    assert [claimed(store) for _ in range(3)] == [1, 2, None]
    assert store.claim("me", 60.0, only=4, machine=BOX).assigned.cards == ("GPU-a",)
    store.finish(store.start(store.get(1)), JobState.FAILED)
    assert claimed(store) is None, "the card of job 1 is that of job 4"


def test_who_runs_a_job_at_once_is_told_that_there_is_no_room_for_it(store):
    alone, beside = submit(store, Needs(cores=2), Needs(cores=1), count=1)
    told: list[dict[str, object]] = []
    executor = LocalExecutor("ticking")
    worker = Worker(store, lambda job: executor, lease_seconds=60.0, machine=PLAIN)
    assert claimed(store, PLAIN) == alone
    assert worker.run_job(beside, told.append).state == JobState.SUCCEEDED
    logs = [event["text"] for event in told if event["kind"] == "log"]
    assert logs == [f"It begins at once, although there is no room for it: cores: 1 needed, 0 free beside job {alone}."]


def test_room_that_another_worker_took_since_it_was_looked_for_is_not_given_out_again(store, monkeypatch):
    submit(store, *[HALF] * 5)
    assert [claimed(store) for _ in range(3)] == [1, 2, 3]
    other, write = JobStore(store.path), store.database.write

    def late():
        monkeypatch.setattr(store.database, "write", write)
        assert claimed(other) == 4
        return write()

    monkeypatch.setattr(store.database, "write", late)
    assert claimed(store) is None
    assert sorted(job.assigned.cards for job in store.list([JobState.CLAIMED])) == [("GPU-a",)] * 2 + [("GPU-b",)] * 2


def test_a_job_that_no_machine_can_run_is_refused_before_it_is_queued(store, monkeypatch):
    huge = Needs(least=1 << 59)
    monkeypatch.setattr("camelid_core.jobs.job_needs.needs_of", lambda *_: huge)
    with pytest.raises(JobError, match=r"This tick job can run on no machine that is known: it needs .* of memory; "):
        possible_needs(store, "tick", {})
    vast = Resources("v", "vast", 1, 1 << 59)
    with WorkerPresence(store, "w", vast):
        assert possible_needs(store, "tick", {}) == huge


def test_cards_are_found_through_the_driver_in_the_order_and_number_that_this_process_was_given(tmp_path, monkeypatch):
    driver = tmp_path / "nvidia-smi"
    driver.write_text(
        "#!/bin/sh\necho '0, GPU-a, NVIDIA H200, 143771'\necho '1, GPU-b, NVIDIA GB10, [N/A]'\n"
        "echo '2, GPU-c, NVIDIA H200, 143771'\n"
    )
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    cards = (Gpu("GPU-a", "H200", 143771 << 20), Gpu("GPU-b", "GB10", 0), Gpu("GPU-c", "H200", 143771 << 20))
    assert this_machine({}).gpus == cards
    assert this_machine({"CUDA_VISIBLE_DEVICES": "2, 0"}).gpus == (cards[2], cards[0])
    assert this_machine({"CUDA_VISIBLE_DEVICES": "GPU-b"}).gpus == (cards[1],)
    assert this_machine({"CUDA_VISIBLE_DEVICES": ""}).gpus == ()
    driver.write_text("#!/bin/sh\nexit 9\n")
    assert this_machine({}).gpus == ()
    found = this_machine({})
    assert found.cores >= 1
    assert found.memory > 1 << 28


@pytest.mark.slow
def test_two_workers_run_jobs_side_by_side_on_cards_of_their_own(store, home, start_worker, until):
    submit(store, *[HALF] * 4, replace(HALF, gpu_memory=0), Needs(cores=0), then="held", count=1)
    for _ in range(2):
        start_worker(60.0, "3", json.dumps(BOX.to_json()))
    files = [attempt_directory(home, number, 1) / "cards" for number in (1, 2, 3, 4)]
    until(lambda: all(file.exists() and file.read_text() for file in files))  # written, not only there
    running = store.list([JobState.RUNNING, JobState.CLAIMED])
    assert sorted(job.id for job in running) == [1, 2, 3, 4]
    told = {job.id: (attempt_directory(home, job.id, 1) / "cards").read_text() for job in running}
    assert told == {job.id: job.assigned.cards[0] for job in running}
    assert sorted(told.values()) == ["GPU-a", "GPU-a", "GPU-b", "GPU-b"]
    (home / "go").touch()
    until(lambda: len(store.list([JobState.SUCCEEDED])) == 6)
    assert [(attempt_directory(home, number, 1) / "cards").read_text() for number in (5, 6)][1] == ""
    assert {job.epoch for job in store.list()} == {1}


@pytest.mark.slow
def test_a_worker_that_stops_gives_all_its_jobs_back_and_one_that_fails_leaves_the_others_alone(
    store, home, start_worker, until
):
    submit(store, Needs(cores=0), then="crash")
    submit(store, Needs(cores=0), Needs(cores=0), count=100_000)
    worker = start_worker(60.0, "0", json.dumps(PLAIN.to_json()))
    until(lambda: store.get(1).state == JobState.FAILED)
    until(lambda: all((attempt_directory(home, number, 1) / "state.json").exists() for number in (2, 3)))
    worker.terminate()
    assert worker.wait(240) == 0
    assert {(job.state, job.retries) for job in map(store.get, (2, 3))} == {(JobState.QUEUED, 0)}


@pytest.mark.slow
def test_what_a_job_measured_it_does_not_take_goes_to_another(store, home, start_worker, until):
    whole = replace(HALF, gpu_memory=20 * GB)
    submit(store, whole, whole, then="held", memory=4 * GB)
    submit(store, whole, then="held", memory=40 * GB)
    start_worker(60.0, "0", json.dumps(replace(BOX, gpus=BOX.gpus[:1]).to_json()))
    until(lambda: store.get(2).state == JobState.RUNNING and store.get(2).assigned.gpu_memory == 4 * GB)
    until(lambda: store.get(1).assigned.gpu_memory == 4 * GB)
    assert (store.get(1).needs.gpu_memory, store.get(1).needs.source) == (4 * GB, "measured")
    assert store.get(3).state == JobState.QUEUED
    (home / "go").touch()
    until(lambda: store.get(3).state == JobState.SUCCEEDED)
    third = store.get(3)
    assert (third.assigned.gpu_memory, third.needs.gpu_memory) == (20 * GB, 40 * GB), "what was given never grows"


def test_a_person_reads_what_a_job_needs_and_what_it_was_given(store):
    submit(store, replace(HALF, source="measured", without_gpus=Needs(memory=3 * GB)))
    claimed(store)
    shown = CliRunner().invoke(app, ["show", "1"]).output
    needed = "1 GPU with 10.0 GB each, 1 cores (measured); without GPUs all cores, 3.0 GB of memory (declared)"
    assert needed in shown
    assert "box: GPU-a with 10.0 GB each, 1 cores" in shown
    assert json.loads(CliRunner().invoke(app, ["show", "1", "--json"]).output)["assigned"]["cards"] == ["GPU-a"]
