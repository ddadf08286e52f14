"""Agents in processes and homes of their own: what they run is published here once, whatever happens to them."""

from __future__ import annotations

import json
import signal

import psutil
import pytest
from camelid_core.artefacts import verify_directory
from camelid_core.events import read_events
from camelid_core.jobs.job import ENDED, JobState
from camelid_core.machines.machine import machines

pytestmark = pytest.mark.slow
ENDLESS = 100_000


def kept(open_door, job, epoch=1):
    """How far the attempt was when its state last reached the server."""
    try:
        return int((open_door.attempt(job, epoch) / "state.json").read_text())
    except (OSError, ValueError):
        return 0


def succeeded(open_door, job):
    return lambda: open_door.store.get(job.id).state == JobState.SUCCEEDED


def test_a_job_runs_on_another_machine_and_its_result_is_here(open_door, start_agent, until, tmp_path):
    given = tmp_path / "elsewhere" / "text.txt"
    given.parent.mkdir()
    given.write_text("first\nsecond\n")
    job = open_door.store.submit("tick", {"count": 8, "reads": str(given), "output": str(tmp_path / "out")}, "mine")
    agent = start_agent("box")
    until(succeeded(open_door, job))
    done = open_door.store.get(job.id)
    assert (done.epoch, done.published, done.summary) == (1, str(tmp_path / "out"), {"ticks": 8, "first": 0})
    found = verify_directory(tmp_path / "out")
    assert found.manifest.parameters == {"path": str(given), "line": "first"}, "paths are the server's again"
    assert json.loads((tmp_path / "out" / "ticks.json").read_text()) == 8
    events, _ = read_events(open_door.attempt(job) / "events.jsonl")
    assert [event["done"] for event in events if event["kind"] == "progress"] == list(range(1, 9))
    assert (open_door.attempt(job) / "log.txt").exists()
    assert not (open_door.attempt(job) / "process.json").exists(), "which process to kill is the other machine's affair"
    until(lambda: not list(agent.home.glob("joined/*/[0-9]*")))
    (machine,) = machines(open_door.store)
    assert (machine.name, machine.online, machine.description.tasks) == ("box", True, ("tick",))


def test_another_machine_goes_on_from_what_reached_the_server(open_door, start_agent, until):
    job = open_door.store.submit("tick", {"count": ENDLESS, "seconds": 0.02}, "mine")
    first = start_agent("first")
    until(lambda: kept(open_door, job) > 1)
    first.vanish(job)
    reached = kept(open_door, job)
    open_door.end_lease(job)
    start_agent("second")
    until(lambda: kept(open_door, job, epoch=2) > reached)
    open_door.store.request(job.id, "finish")
    until(succeeded(open_door, job))
    done = open_door.store.get(job.id)
    assert done.summary["first"] == reached
    assert (done.epoch, done.retries) == (2, 1)


def test_a_machine_that_comes_back_too_late_is_refused(open_door, start_agent, until, alive):
    job = open_door.store.submit("tick", {"count": ENDLESS, "seconds": 0.02}, "mine")
    zombie = start_agent("zombie")
    until(lambda: kept(open_door, job))
    child = zombie.child(job)
    for pid in (zombie.process.pid, child.pid):
        psutil.Process(pid).suspend()
    open_door.end_lease(job)
    start_agent("second")
    until(lambda: kept(open_door, job, epoch=2))
    before = open_door.attempt(job).stat().st_mtime_ns, kept(open_door, job)
    for pid in (zombie.process.pid, child.pid):
        psutil.Process(pid).resume()
    until(lambda: not alive(child.pid))
    until(lambda: b"was given to another worker" in zombie.log.read_bytes())
    open_door.store.request(job.id, "finish")
    until(succeeded(open_door, job))
    assert open_door.store.get(job.id).epoch == 2
    assert before == (open_door.attempt(job).stat().st_mtime_ns, kept(open_door, job)), "nothing more of it came"
    assert [path.name for path in (open_door.home / "artefacts").iterdir()] == ["mine"]


def test_a_short_cut_of_the_network_harms_nothing(open_door, start_agent, until, wire):
    url = open_door.url.replace(str(open_door.port), str(wire.port))
    job = open_door.store.submit("tick", {"count": ENDLESS, "seconds": 0.02}, "mine")
    start_agent("box", url)
    for _ in range(3):
        reached = kept(open_door, job)
        until(lambda reached=reached: kept(open_door, job) > reached)
        wire.cut()
        wire.mend()
    assert wire.cuts
    open_door.store.request(job.id, "finish")
    until(succeeded(open_door, job))
    done = open_door.store.get(job.id)
    assert (done.epoch, done.retries, done.summary["first"]) == (1, 0, 0)
    events, _ = read_events(open_door.attempt(job) / "events.jsonl")
    steps = [event["done"] for event in events if event["kind"] == "progress"]
    assert steps == list(range(1, done.summary["ticks"] + 1)), "every line came once"


def test_a_long_cut_ends_the_attempt_there_and_the_job_goes_on_elsewhere(open_door, start_agent, until, wire, alive):
    url = open_door.url.replace(str(open_door.port), str(wire.port))
    job = open_door.store.submit("tick", {"count": ENDLESS, "seconds": 0.02}, "mine")
    open_door.jobs.lease_seconds = 6.0
    far = start_agent("far", url)
    until(lambda: kept(open_door, job))
    child = far.child(job)
    open_door.jobs.lease_seconds = 120.0
    wire.cut()
    until(lambda: not alive(child.pid), "the end of what the server does not hear of")
    reached = kept(open_door, job)
    start_agent("near")
    until(lambda: kept(open_door, job, epoch=2) > reached)
    wire.mend()
    open_door.store.request(job.id, "finish")
    until(succeeded(open_door, job))
    assert open_door.store.get(job.id).epoch == 2


def test_what_people_request_reaches_the_machine(open_door, start_agent, until):
    store = open_door.store
    job = store.submit("tick", {"count": ENDLESS, "seconds": 0.02}, "mine")
    agent = start_agent("box")
    until(lambda: kept(open_door, job) > 1)
    store.request(job.id, "pause")
    until(lambda: store.get(job.id).state == JobState.PAUSED)
    assert f"camelid jobs retry {job.id}" in store.get(job.id).error
    reached = kept(open_door, job)
    store.retry(job.id)
    until(lambda: kept(open_door, job, epoch=2) > reached)
    agent.process.send_signal(signal.SIGTERM)
    assert agent.process.wait(240) == 0
    back = store.get(job.id)
    assert (back.state, back.retries, back.owner) == (JobState.QUEUED, 0, ""), "a machine that stops gives its job back"
    store.request(job.id, "cancel")


ENDS = {
    "bad data": (JobState.FAILED, "data_error", "Row 3 is bad; mend it."),
    "memory": (JobState.FAILED, "out_of_memory", "Take a smaller batch size"),
    "disk": (JobState.PAUSED, "disk_full", "Free some space"),
    "kill": (JobState.FAILED, "killed_by_signal_9", "SIGKILL"),
    "damaged": (JobState.FAILED, "artefact_error", "is not the file that was written"),
    "nothing": (JobState.SUCCEEDED, "", ""),
}


def test_an_end_is_told_as_it_was_and_the_next_job_begins(open_door, start_agent, until, tmp_path, capfd):
    store = open_door.store
    jobs = {then: store.submit("tick", {"count": 1, "then": then}) for then in ENDS}
    start_agent("box")
    until(lambda: all(store.get(job.id).state in ENDED for job in jobs.values()))
    for then, (state, kind, words) in ENDS.items():
        done = store.get(jobs[then].id)
        assert (done.state, done.error_kind) == (state, kind), then
        assert words in done.error
    token = open_door.tokens["box"]
    printed = "".join(capfd.readouterr())
    assert token not in printed, "tokens are in no log and in no file"
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]
