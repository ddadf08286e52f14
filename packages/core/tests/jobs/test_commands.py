"""The commands and helpers as people and pages use them, with a task from a really installed plugin."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from camelid_core.commands import job_access, jobs, worker
from camelid_core.errors import CamelidError
from camelid_core.events import EventLog
from camelid_core.jobs.foreground import ensure_worker
from camelid_core.jobs.job import JobState
from camelid_core.jobs.presence import live_workers
from camelid_core.jobs.process_identity import ProcessIdentity
from camelid_core.jobs.run_directories import attempt_directory
from camelid_core.testing import shadow_every_module
from typer.testing import CliRunner

PLUGIN = """
from camelid_core import hookimpl

@hookimpl
def camelid_tasks():
    from ticking import TICK

    return [TICK]
"""


@pytest.fixture
def installed(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution directory on the path, and core's own where core is not installed."""
    site = tmp_path / "site"
    for name, module in (("camelid-ticks", "camelid_ticks"), ("camelid-core", "camelid_core.plugin")):
        info = site / f"{name.replace('-', '_')}-0.1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
        (info / "entry_points.txt").write_text(f"[camelid]\n{name} = {module}\n")
    (site / "camelid_ticks.py").write_text(PLUGIN)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.environ["PYTHONPATH"], str(site)]))


def camelid(group: str, *arguments: str, code: int = 0) -> str:
    """What the command prints, or the sentence it fails with."""
    done = CliRunner().invoke(jobs.app if group == "jobs" else worker.app, arguments)
    error = done.exception if isinstance(done.exception, CamelidError) else None
    assert (error.exit_code if error else done.exit_code) == code, done.output
    return done.output + str(error or "")


def foreground(**config: object) -> subprocess.Popen[str]:
    script = (
        "import json, sys; from camelid_core.jobs.foreground import run_in_foreground\n"
        "show = lambda event: print(event['done'], flush=True)\n"
        "job = run_in_foreground('tick', json.loads(sys.argv[1]), 'mine', show)\n"
        "print(job.state, job.error or job.published)"
    )
    return subprocess.Popen([sys.executable, "-c", script, json.dumps(config)], stdout=subprocess.PIPE, text=True)


def test_the_program_has_them(home, installed):
    done = subprocess.run([sys.executable, "-m", "camelid_core.cli", "jobs", "list"], capture_output=True, check=True)
    assert done.stdout == b"There are no jobs.\n"


def test_from_submit_to_result(store, installed):
    assert "There are no jobs." in camelid("jobs", "list")
    job = store.submit("tick", {"count": 2}, "mine")
    assert [each["state"] for each in json.loads(camelid("jobs", "list", "--json"))] == ["queued"]
    assert "Job 1 succeeded." in camelid("worker", "--once")
    assert Path(store.get(job.id).published).name == "mine"
    assert "mine" in camelid("jobs", "list")
    shown = json.loads(camelid("jobs", "show", "1", "--json"))
    assert (shown["summary"]["ticks"], shown["progress"]["done"]) == (2, 2)
    assert "No job is queued." in camelid("worker", "--once")
    assert "Job 1 succeeded." in camelid("jobs", "wait", "1")
    assert "already ended (succeeded)" in camelid("jobs", "cancel", "1", code=1)
    assert "There is no job 9" in camelid("jobs", "show", "9", code=1)


def test_failure_and_retry(store, installed):
    store.submit("tick", {"count": 1, "then": "crash"})
    camelid("worker", "--once")
    assert "ZeroDivisionError: the bug" in camelid("jobs", "wait", "1", code=1)
    assert "Traceback" in camelid("jobs", "logs", "1", "--follow")
    assert "`camelid jobs retry 1` goes on from what it kept" in camelid("jobs", "show", "1")
    assert "`camelid worker` starts one" in camelid("jobs", "retry", "1")
    assert "Job 1 is cancelled." in camelid("jobs", "cancel", "1")
    assert "ZeroDivisionError" in camelid("jobs", "retry", "1", "--here", code=1)


def test_ctrl_c_saves_and_says_how_to_go_on(store, installed):
    process = foreground(count=100_000)
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=240)
    assert "cancelled Cancelled. `camelid jobs retry 1`" in out
    assert store.get(1).state == JobState.CANCELLED


@pytest.fixture
def asleep(monkeypatch):
    """What happens while a command sleeps."""

    def during(action):
        monkeypatch.setattr(job_access, "time", SimpleNamespace(sleep=lambda seconds: action()))

    return during


def test_a_command_that_was_killed_is_retried_as_its_help_says(store, installed, home, run_out, asleep):
    process = foreground(count=5, then="held")
    assert process.stdout is not None
    while process.stdout.readline() != "5\n":
        pass
    process.kill()
    process.communicate()
    ProcessIdentity.read(attempt_directory(home, 1, 1)).kill()  # as when the machine went down
    run_out(store.get(1))
    asleep(lambda: None)
    assert "lost" in camelid("jobs", "list")
    (home / "go").touch()
    assert "Job 1 succeeded." in camelid("jobs", "retry", "1", "--here")
    assert store.get(1).summary == {"ticks": 5, "first": 5}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(("show",), "lost"), (("retry",), "Job 1 is queued. No worker"), (("cancel",), "Job 1 is cancelled.")],
)
def test_a_job_whose_process_died_is_lost_for_every_command(store, run_out, asleep, arguments, told):
    store.submit("tick", {})
    run_out(store.start(store.claim("w", 30)))
    asleep(lambda: None)
    assert told in camelid("jobs", *arguments, "1")


def test_who_only_woke_up_late_keeps_the_job(store, run_out, asleep):
    store.submit("tick", {})
    job = store.start(store.claim("w", 30))
    run_out(job)
    asleep(lambda: store.heartbeat(job))
    assert "running" in camelid("jobs", "list")


@pytest.mark.parametrize("arguments", [("wait", "1"), ("logs", "--follow", "1")])
def test_who_follows_a_job_sees_it_die(store, run_out, asleep, arguments):
    store.submit("tick", {})
    job = store.start(store.claim("w", 30))
    store.request(1, "cancel")
    slept = iter(range(9))

    def die():
        next(slept)  # it does not go on for ever
        run_out(job)

    asleep(die)
    camelid("jobs", *arguments, code=1 if arguments[0] == "wait" else 0)
    assert store.get(1).error == "Cancelled; its worker had died."


def test_waiting_without_a_worker_says_so_once(store, asleep):
    store.submit("tick", {})
    slept = iter([lambda: None, lambda: None, lambda: store.request(1, "cancel")])
    asleep(lambda: next(slept)())
    assert camelid("jobs", "wait", "1", code=1).count("`camelid worker` starts one") == 1


def test_somebody_works_and_imports_nothing_from_our_home(store, installed, home, until):
    sprung = shadow_every_module(home)
    store.submit("tick", {"count": 1})
    assert ensure_worker(home)
    assert not ensure_worker(home)
    until(lambda: store.get(1).state == JobState.SUCCEEDED)
    until(lambda: len(live_workers(store)) == 1)
    (name,) = live_workers(store)
    process = psutil.Process(int(name.split(":")[1]))
    process.terminate()
    until(lambda: live_workers(store) == [])
    assert "Traceback" not in (home / "worker.log").read_text()
    assert sprung() == set()


def numbers(*arguments: str) -> list[int]:
    return [each["id"] for each in json.loads(camelid("jobs", "list", "--json", *arguments))]


def test_jobs_are_found_by_state_task_and_words(store):
    for name in ("one", "two_%", "three"):
        store.submit("tick", {}, name.replace("%", "x"))
    store.submit("tock", {})
    store.request(1, "cancel")
    assert numbers() == [4, 3, 2, 1]
    assert numbers("--state", "cancelled", "--state", "failed") == [1]
    assert numbers("--task", "tock") == [4]
    assert numbers("--text", "O_") == [2]  # a name's own underscore, no wildcard
    assert numbers("--text", "3") == [3]
    assert "No job is like that" in camelid("jobs", "list", "--text", "%")
    assert "state 'runing' is not known. Did you mean 'running'?" in camelid(
        "jobs", "list", "--state", "runing", code=2
    )
    assert "'tack' is not known" in camelid("jobs", "list", "--task", "tack", code=2)


def test_a_list_shows_how_far_jobs_are(store, home):
    store.submit("tick", {})
    job = store.start(store.claim("w", 30))
    directory = attempt_directory(home, job.id, job.epoch)
    directory.mkdir(parents=True)
    log = EventLog(directory / "events.jsonl")
    log.emit("progress", done=1, total=4, unit="steps", eta=7260.0)
    log.emit("log", text="x" * 70_000)  # progress is further from the end than what is looked at first
    log.close()
    row = camelid("jobs", "list").splitlines()[1]
    assert "25%" in row
    assert "2 h 01 min" in row
    assert json.loads(camelid("jobs", "show", "1", "--json"))["progress"]["eta"] == 7260.0


def test_every_answer_is_there_for_programs(store):
    for _ in range(3):
        store.submit("tick", {})
    for command, state in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled"), ("retry", "queued")):
        answer = json.loads(camelid("jobs", command, "1", "--json"))
        assert (answer["id"], answer["state"]) == (1, state)
    assert json.loads(camelid("jobs", "priority", "1", "5", "--json"))["priority"] == 5
    assert json.loads(camelid("jobs", "move", "3", "first", "--json"))["priority"] == 6
    store.start(store.claim("w", 30, only=3))
    assert json.loads(camelid("jobs", "finish", "3", "--json"))["request"] == "finish"


def test_waiting_for_several_says_whether_all_succeeded(store, asleep):
    for _ in range(3):
        store.submit("tick", {})
    done, lost = store.start(store.claim("w", 30)), store.start(store.claim("w", 30))
    store.finish(done, JobState.SUCCEEDED)
    assert "Job 1 succeeded." in camelid("jobs", "wait", "1", "1")
    out = camelid("jobs", "wait", "1", "2", "--timeout", "0.01", code=2)
    assert "Job 2 is running." in out
    assert "`camelid jobs wait 2` waits on" in out
    attempts = iter([lambda: store.mark_lost(lost), store.sweep_lost, lambda: None])

    def meanwhile():  # its attempt is lost, and the next one succeeds
        try:
            next(attempts)()
        except StopIteration:
            job = store.claim("w", 30, only=2)
            if job:
                store.finish(store.start(job), JobState.SUCCEEDED)

    asleep(meanwhile)
    out = camelid("jobs", "wait", "1", "2", "--json")
    ended = json.loads(out[out.index("[\n") :])  # after what stands on the other stream
    assert [each["state"] for each in ended] == ["succeeded", "succeeded"]
    store.request(3, "cancel")
    assert "Job 3 cancelled." in camelid("jobs", "wait", "1", "3", code=1)
