"""How jobs end: outcomes, error kinds, and the advice that a person gets."""

from __future__ import annotations

import errno
import os
import pty
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from camelid_core.errors import DataError, DiskFull, NanLoss
from camelid_core.events import EventLog
from camelid_core.jobs.advice import advice
from camelid_core.jobs.attempt_result import AttemptResult, ExitCode, Outcome
from camelid_core.jobs.job import Job, JobState
from camelid_core.jobs.killed_processes import true_cause
from camelid_core.jobs.oom_kills import count_oom_kills
from camelid_core.jobs.resume_point import resume_hint, resume_step
from camelid_core.jobs.run_directories import EVENTS, attempt_directory
from camelid_core.jobs.stop_signals import StopSignal, stop_on_signals


class AcceleratorError(RuntimeError):
    """Named as torch's is."""


@pytest.mark.parametrize(
    ("error", "how", "kind", "sentence"),
    [
        (DiskFull("The checkpoint needs 5 bytes."), Outcome.DISK_FULL, "disk_full", "The checkpoint needs 5 bytes."),
        (OSError(errno.ENOSPC, "x"), Outcome.DISK_FULL, "disk_full", "The disk is full. Free some space first."),
        (OSError(errno.EFBIG, "x"), Outcome.DISK_FULL, "disk_full", "The disk is full."),
        (RuntimeError(f"IoError: {os.strerror(errno.EFBIG)}"), Outcome.DISK_FULL, "disk_full", "The disk is full."),
        (DataError(os.strerror(errno.EFBIG)), Outcome.FAILED, "data_error", os.strerror(errno.EFBIG)),
        (NanLoss("the loss became nan"), Outcome.FAILED, "nan_loss", "the loss became nan"),
        (AcceleratorError("CUDA error: unspecified launch failure\nmore"), Outcome.FAILED, "accelerator",
         "The graphics card failed: CUDA error: unspecified launch failure."),
        (RuntimeError("NCCL error: unhandled system error."), Outcome.FAILED, "accelerator",
         "The graphics card failed"),
    ],
)  # fmt: skip
def test_an_error_has_a_kind_and_a_sentence(error, how, kind, sentence):
    result = AttemptResult.from_exception(error)
    assert (result.how, result.kind) == (how, kind)
    assert sentence in result.message


def test_the_kernel_says_whether_it_was_for_lack_of_memory(tmp_path):
    own, system = tmp_path / "own", tmp_path / "vmstat"
    own.write_text("4:memory:/deep/box\n0::/box\n")
    (tmp_path / "box").mkdir()
    (tmp_path / "memory" / "deep").mkdir(parents=True)

    def count():
        return count_oom_kills(own, tmp_path, system)

    assert count() == 0
    system.write_text("pgfault 7\noom_kill 5\n")
    assert count() == 5, "where no control group counts, the system does"
    (tmp_path / "memory" / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert count() == 3, "in a container the own group may be named as the host sees it"
    (tmp_path / "box" / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    own.write_text("0::/box\n")
    assert count() == 2
    killed = AttemptResult.from_exit_code(-9, tmp_path, oom_killed=True)
    assert (killed.how, killed.kind) == (Outcome.KILLED, "out_of_memory")
    assert AttemptResult.from_exit_code(-9, tmp_path).kind == "killed_by_signal_9"
    assert AttemptResult.from_exit_code(-11, tmp_path, oom_killed=True).kind == "killed_by_signal_11"


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (137, "killed_by_signal_9", "ran out of memory"),
        (139, "killed_by_signal_11", "crashed"),
        (135, "killed_by_signal_7", "/dev/shm is full"),
        (-7, "killed_by_signal_7", "(SIGBUS)"),
        (-6, "killed_by_signal_6", "gave up"),
        (255, "crash", "exit code 255"),
    ],
)
def test_a_signal_is_known_by_its_code_however_it_is_reported(tmp_path, code, kind, words):
    result = AttemptResult.from_exit_code(code, tmp_path)
    assert result.kind == kind
    assert words in result.message


@pytest.mark.parametrize(
    "words",
    [
        "process 1 of 2 is gone, so the others were ended. Its process was ended by signal 9 (SIGKILL).",
        "RuntimeError: DataLoader worker (pid 7) is killed by signal: Killed.  (the log has the traceback)",
        "BrokenProcessPool: A process in the process pool was terminated abruptly (the log has the traceback)",
        "Its process ended with exit code 137 and no result.",
        "RuntimeError: DataLoader worker (pid(s) 77) exited unexpectedly (the log has the traceback)",
    ],
)
def test_a_peer_that_only_lost_the_one_that_was_killed_does_not_hide_why(words):
    result = AttemptResult(Outcome.FAILED, words, "crash")
    alone = true_cause(result, oom_killed=False)
    assert (alone.message, alone.kind) == (words, "killed_by_signal_9" if "was ended by signal 9" in words else "crash")
    told = true_cause(result, oom_killed=True)
    assert (told.how, told.kind) == (Outcome.FAILED, "out_of_memory")
    assert told.message.startswith("The system ran out of memory")
    assert words in told.message
    other = AttemptResult(Outcome.FAILED, "DataError: row 9 is bad", "data_error")
    assert true_cause(other, oom_killed=True) == other


class Unreachable(ConnectionError):
    """As a network library's."""


Unreachable.__module__ = "requests.exceptions"


class Answered(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.response = type("Response", (), {"status_code": status})


Answered.__module__ = "huggingface_hub.errors"


def test_a_server_that_cannot_be_reached_is_told_from_one_that_refuses():
    assert AttemptResult.from_exception(Unreachable("no route")).kind == "connection"
    wrapped = DataError("The Hub cannot be reached.")
    wrapped.__cause__ = Unreachable("no route")
    result = AttemptResult.from_exception(wrapped)
    assert (result.kind, result.message) == ("connection", "The Hub cannot be reached.")
    kinds = {status: AttemptResult.from_exception(Answered(status)).kind for status in (401, 404, 429, 503)}
    assert kinds == {401: "crash", 404: "crash", 429: "connection", 503: "connection"}
    assert AttemptResult.from_exception(ConnectionResetError("a pipe")).kind == "crash"


@pytest.mark.parametrize(
    ("state", "kind", "error", "told"),
    [
        (JobState.PAUSED, "disk_full", "Full.", "Then `camelid jobs retry 7` goes on from what it kept, if anything."),
        (JobState.FAILED, "nan_loss", "No number.", "Change the recipe or the data and start a new run"),
        (
            JobState.FAILED,
            "crash",
            "It broke.",
            "`camelid jobs logs 7` shows what it printed; `camelid jobs retry 7` goes",
        ),
        (JobState.CANCELLED, "cancelled", "Saved. `camelid jobs retry 7` goes on.", ""),
        (JobState.SUCCEEDED, "", "", ""),
        (JobState.QUEUED, "", "", ""),
    ],
)
def test_what_to_type_is_said_once(tmp_path, state, kind, error, told):
    said = advice(Job(7, "train", {}, state=state, error=error, error_kind=kind), tmp_path)
    assert said.startswith(told)
    assert bool(said) == bool(told)


@pytest.mark.parametrize(
    ("attempts", "step"),
    [
        ([], None),
        ([[("progress", 3)]], None),  # it does not say from where
        ([[("resume", 0), ("progress", 3)]], 0),
        ([[("resume", 0), ("checkpoint", 1200), ("checkpoint", 2400), ("progress", 2500)]], 2400),
        ([[("resume", 0), ("checkpoint", 2)], []], 2),  # the second ended before it knew
        ([[("resume", 0), ("checkpoint", 2), ("checkpoint", 4)], [("resume", 2)]], 2),  # the newest was damaged
        ([[("resume", 0), ("checkpoint", 2)], [("resume", 0)]], 0),  # none was sound
    ],
)
def test_from_where_another_attempt_goes_on(tmp_path, attempts, step):
    for epoch, told in enumerate(attempts, 1):
        (directory := attempt_directory(tmp_path, 7, epoch)).mkdir(parents=True)
        with closing(EventLog(directory / EVENTS)) as log:
            for kind, number in told:
                log.emit(kind, step=number)
    assert resume_step(tmp_path, 7) == step
    begins = {None: "goes on from what it kept, if anything", 0: "begins anew: nothing was saved yet"}
    then = begins.get(step, f"goes on from step {step:,}, where it was saved" if step else "")
    assert resume_hint(tmp_path, 7) == f"`camelid jobs retry 7` {then}."


def test_with_its_log_on_a_full_disk_an_attempt_still_says_why_it_ended(store, home):
    job = store.claim("me", 300) if store.submit("tick", {"count": 1, "then": "disk"}) else None
    attempt_directory(home, job.id, job.epoch).mkdir(parents=True)
    command = [sys.executable, "-m", "ticking", "--home", str(home), str(job.id), str(job.epoch)]
    with Path("/dev/full").open("w") as full:
        code = subprocess.run(command, stdout=full, stderr=full, env=os.environ | {"PYTHONUNBUFFERED": "1"}).returncode
    assert code == ExitCode.DISK_FULL


COMMAND = (
    "import sys; from ticking import Ticks\n"
    "from camelid_core.jobs import foreground, worker\n"
    "from camelid_core.jobs.executors import LocalExecutor\n"
    "worker.chosen_executor = lambda job: LocalExecutor('ticking')\n"
    "from camelid_core.commands.run_job import run_job\n"
    "from camelid_core.errors import CamelidError\n"
    "try:\n    run_job('tick', Ticks(count=100_000, seconds=0.05), 'mine')\n"
    "except CamelidError as error:\n    print(error); sys.exit(error.exit_code)\n"
)


def test_a_command_that_is_told_to_stop_ends_with_130_and_says_how_to_go_on(store, home):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", COMMAND], **pipes)
    assert process.stderr.readline()  # the first progress
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 130
    assert out == "Cancelled. `camelid jobs retry 1` goes on from what it kept, if anything.\n"


def test_a_terminal_that_is_closed_lets_the_job_save(store, home):
    """It tells its leader so, and from then on fails whoever writes to it."""
    ours, its = pty.openpty()
    leads = f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n{COMMAND}"
    command = [sys.executable, "-c", leads]
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, start_new_session=True)
    os.close(its)
    assert os.read(ours, 1)  # the first progress
    os.close(ours)
    process.wait(240)
    job = store.get(1)
    assert job.state == JobState.CANCELLED
    assert job.error == "Cancelled. `camelid jobs retry 1` goes on from what it kept, if anything."


def test_a_hangup_counts_once_and_whoever_ignores_it_goes_on_ignoring_it():
    before = signal.signal(signal.SIGHUP, lambda *_: None)
    try:
        with stop_on_signals(StopSignal()) as stop:
            for _ in range(2):
                signal.raise_signal(signal.SIGHUP)
        assert stop
        assert not stop.immediate
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with stop_on_signals(StopSignal()) as stop:
            signal.raise_signal(signal.SIGHUP)
        assert not stop
    finally:
        signal.signal(signal.SIGHUP, before)
