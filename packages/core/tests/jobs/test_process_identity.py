"""Process identity: which processes are killed, and above all which are not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace

import psutil
import pytest
from camelid_core.jobs import process_identity
from camelid_core.jobs.attempt_result import ExitCode
from camelid_core.jobs.clock import boot_id
from camelid_core.jobs.executors import LocalExecutor
from camelid_core.jobs.process_identity import (
    ATTEMPT_VARIABLE,
    ProcessIdentity,
    attempt_of_mark,
    new_mark,
    process_start_time,
)
from camelid_core.jobs.run_directories import attempt_directory
from camelid_core.jobs.strays import kill_strays
from camelid_core.testing import shadow_every_module


@pytest.fixture
def stranger():
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


OURS = {"our group": os.getpgrp, "ourselves": os.getpid, "our parent": os.getppid}


@pytest.mark.parametrize("who", [0, 1, -1, *OURS])
def test_never_signalled(who, tmp_path):
    pid = OURS[who]() if who in OURS else who
    """Were one of these killed, this test run would be over."""
    identity = ProcessIdentity.of(pid, "no such mark")
    identity.write(tmp_path)
    LocalExecutor().kill_leftovers(tmp_path)


@pytest.mark.parametrize("who", [0, 1, -1, "our group", "ourselves"])
def test_never_signalled_whatever_the_record_says(who, monkeypatch):
    """Though start time and boot agree and it leads its group: these are nobody's to end. No signal is sent here."""
    pid, sent = OURS[who]() if who in OURS else who, []
    monkeypatch.setattr(os, "killpg", lambda *signal: sent.append(signal))
    monkeypatch.setattr(os, "getpgid", lambda pid: pid)
    monkeypatch.setattr(process_identity, "process_start_time", lambda pid: "12")
    ProcessIdentity(pid, "12", boot_id(), "").kill()
    assert sent == []


def test_who_carries_the_mark_itself_lives_on():
    """A worker that was started by an attempt has its mark in its environment."""
    script = (
        "from camelid_core.jobs.process_identity import ProcessIdentity; "
        "ProcessIdentity(0, '', '', 'm' * 32).kill(); print('alive')"
    )
    environment = os.environ | {ATTEMPT_VARIABLE: "m" * 32}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "alive\n")


@pytest.mark.parametrize("change", [{"started": "1"}, {"boot": "an earlier one"}, {"started": ""}])
def test_a_recycled_pid_is_a_stranger(stranger, tmp_path, change, monkeypatch):
    sent = []  # a signal that was sent might not have arrived yet
    monkeypatch.setattr(os, "killpg", lambda *signal: sent.append(signal))
    replace(ProcessIdentity.of(stranger.pid, "no such mark"), **change).write(tmp_path)
    LocalExecutor().kill_leftovers(tmp_path)
    assert (sent, stranger.poll()) == ([], None)


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"pid": "1", "started": "", "boot": "", "mark": ""}'])
def test_a_broken_record_kills_nobody(tmp_path, record):
    (tmp_path / "process.json").write_text(record)
    LocalExecutor().kill_leftovers(tmp_path)


def test_an_exact_match_is_ended(stranger, tmp_path):
    ProcessIdentity.of(stranger.pid, "no such mark").write(tmp_path)
    assert json.loads((tmp_path / "process.json").read_text()) == asdict(ProcessIdentity.read(tmp_path))
    LocalExecutor().kill_leftovers(tmp_path)
    assert stranger.wait(240) == -9


def test_who_left_the_group_is_known_by_the_mark(until):
    stray = subprocess.Popen(
        ["sleep", "60"], start_new_session=True, env={"PATH": os.environ["PATH"], ATTEMPT_VARIABLE: "m" * 32}
    )
    until(lambda: psutil.Process(stray.pid).environ().get(ATTEMPT_VARIABLE))  # it can be seen a moment after it began
    ProcessIdentity(0, "", "", "m" * 32).kill()
    assert stray.wait(240) == -9


def marked(home, mark):
    """A process of an attempt that has left its group, as soon as others can see its mark."""
    variables = {"PATH": os.environ["PATH"], "CAMELID_HOME": str(home), ATTEMPT_VARIABLE: mark}
    process = subprocess.Popen(["sleep", "60"], start_new_session=True, env=variables)
    deadline = time.monotonic() + 240
    while not psutil.Process(process.pid).environ().get(ATTEMPT_VARIABLE):
        assert time.monotonic() < deadline
    return process


def test_what_an_attempt_left_is_ended_once_it_holds_its_job_no_more(store, home):
    """Nobody else would: its worker is dead, and the job was cancelled or deleted before there was another attempt."""
    store.submit("tick", {})
    job = store.claim("dead", 300)
    ours, elsewhere = marked(home, new_mark(job.id, job.epoch)), marked(home / "other", new_mark(job.id, job.epoch))
    unknown, odd = marked(home, new_mark(7, 1)), marked(home, "m" * 32)
    try:
        assert kill_strays(store) == 1
        assert unknown.wait(240) == -9
        store.mark_lost(job)
        store.request(job.id, "cancel")
        assert kill_strays(store) == 1
        assert ours.wait(240) == -9
        assert (elsewhere.poll(), odd.poll()) == (None, None)
    finally:
        for process in (ours, elsewhere, unknown, odd):
            process.kill()
            process.wait()


def test_a_mark_names_its_attempt():
    assert attempt_of_mark(new_mark(17, 2)) == (17, 2)
    assert attempt_of_mark("") == attempt_of_mark("1-2-" + "g" * 32) == attempt_of_mark("1-2-3") is None


def test_started_tells_processes_apart(stranger):
    assert process_start_time(os.getpid()) == process_start_time(os.getpid()) != process_start_time(stranger.pid)
    assert process_start_time(-1) == process_start_time(2**22 + 1) == ""


def test_an_attempt_imports_nothing_from_its_directory(store, home, until):
    job = store.submit("tick", {})
    directory = attempt_directory(home, job.id, job.epoch)
    directory.mkdir(parents=True)
    sprung = shadow_every_module(directory)
    handle = LocalExecutor().start(job, directory)
    until(lambda: handle.poll() is not None)
    assert handle.poll() == ExitCode.FENCED, (directory / "log.txt").read_text()  # it ran: nobody has claimed the job
    assert sprung() == set()


def test_attempts_import_no_heavy_package():
    script = "import sys, camelid_core.jobs.attempt; print({'torch', 'transformers', 'gradio'} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "set()\n"
    )
