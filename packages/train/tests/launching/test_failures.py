"""Which of several processes is to blame, and what is raised for it."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from camelid_core.errors import DataError, ModelError, TrainingError
from camelid_core.jobs.attempt_result import AttemptResult
from camelid_core.jobs.groups import PEER_LOST
from camelid_train.launching.failures import first_error, is_lost_peer

LOST_TEXT = "[../gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:4711"


@pytest.fixture
def ranks(tmp_path):
    directory = tmp_path / "ranks"
    for number in range(3):
        (directory / str(number)).mkdir(parents=True)
    return directory


def end(ranks, number, error, at=0):
    """A process that wrote how it ended, `at` seconds after the first."""
    result = AttemptResult.from_exception(error)
    result = AttemptResult(result.how, result.message, PEER_LOST) if is_lost_peer(error) else result
    result.write(ranks / str(number))
    os.utime(ranks / str(number) / "result.json", (1000 + at, 1000 + at))


def failed(**codes):
    failures = {number: SimpleNamespace(local_rank=int(number[1:]), exitcode=code) for number, code in codes.items()}
    return SimpleNamespace(failures=failures)


@pytest.mark.parametrize("cls", [DataError, ModelError, TrainingError])
def test_an_error_of_ours_comes_out_as_it_went_in(ranks, cls):
    end(ranks, 1, cls("the sentence. Type this."))
    end(ranks, 0, RuntimeError(LOST_TEXT), at=-1)
    error = first_error(failed(r0=1, r1=1), ranks, 2)
    assert type(error) is cls
    assert str(error) == "the sentence. Type this."


def test_the_first_of_several_errors_counts(ranks):
    end(ranks, 0, DataError("second"), at=2)
    end(ranks, 2, DataError("first"), at=1)
    assert str(first_error(failed(r0=1, r1=-15, r2=1), ranks, 3)) == "first"


def test_a_killed_process_is_to_blame_for_those_that_lost_it_and_its_last_words_are_told(ranks):
    end(ranks, 0, RuntimeError(LOST_TEXT))
    (ranks / "1" / "log.txt").write_text("a\nb\nreading rows\n")
    error = first_error(failed(r0=1, r1=-9, r2=-15), ranks, 3)
    assert isinstance(error, TrainingError)
    for words in ("process 1 of 3 is gone", "signal 9 (SIGKILL)", "reading rows", str(ranks / "1" / "log.txt")):
        assert words in str(error)


def test_an_error_counts_more_than_those_that_hung_and_were_killed_for_it(ranks):
    end(ranks, 1, ModelError("no such layer"))
    assert str(first_error(failed(r0=-9, r1=1), ranks, 2)) == "no such layer"


def test_a_full_disk_and_full_memory_stay_what_they_are(ranks):
    end(ranks, 0, OSError(28, "No space left on device"))
    assert AttemptResult.from_exception(first_error(failed(r0=74), ranks, 2)).kind == "disk_full"
    end(ranks, 0, MemoryError("x"))
    assert AttemptResult.from_exception(first_error(failed(r0=1), ranks, 2)).kind == "out_of_memory"


def test_any_other_error_is_told_with_its_process(ranks):
    end(ranks, 2, ZeroDivisionError("x"))
    error = first_error(failed(r2=1), ranks, 3)
    assert str(error).startswith("process 2 of 3: ZeroDivisionError: x")


def test_who_only_lost_processes_of_another_machine_says_so_and_leaves_the_cause_to_them(ranks):
    for number in (0, 1):
        end(ranks, number, RuntimeError(LOST_TEXT))
    found = AttemptResult.from_exception(first_error(failed(r0=1, r1=1), ranks, 2))
    assert (found.kind, "Connection closed by peer" in found.message) == (PEER_LOST, True)
    late = first_error(OSError("gloo: connection reset by peer"), ranks, 2)
    assert AttemptResult.from_exception(late).kind == PEER_LOST
    taken = first_error(OSError("TCPStore: EADDRINUSE"), ranks, 2)
    assert AttemptResult.from_exception(taken).kind == "training_error", "nobody else will explain this"


def test_processes_that_never_started_are_told_so(ranks):
    assert "did not start: no route" in str(first_error(OSError("no route"), ranks, 2))
