"""Background work: once per key, its end is reported, its failure is a sentence, and it can be stopped."""

from __future__ import annotations

import subprocess
import sys
import threading

from camelid_core.errors import DataError
from camelid_ui.services.background_work import INTERRUPTED, MAX_FINISHED, BackgroundRunner


def test_the_same_key_is_the_same_work_until_it_is_over():
    background, go = BackgroundRunner(), threading.Event()
    first = background.start("a", lambda report: go.wait(240), total=5)
    assert background.start("a", lambda report: None) is first
    assert first.running
    go.set()
    assert first.wait(240).state == "done"
    assert background.get("a") is first
    assert background.start("a", lambda report: 7).wait(240).result == 7


def test_failures_are_sentences():
    background = BackgroundRunner()

    def refuse(report):
        raise DataError("row 3 is empty.")

    def break_down(report):
        raise ZeroDivisionError("oh")

    assert background.start("a", refuse).wait(240).error == "row 3 is empty."
    assert background.start("b", break_down).wait(240).error == "ZeroDivisionError: oh"


def test_progress_is_seen_and_work_can_be_stopped():
    background, seen = BackgroundRunner(), threading.Event()

    def count(report):
        for number in range(10**9):
            report(number)
            if number == 10:
                seen.set()

    work = background.start("a", count, total=10**9)
    assert seen.wait(240)
    assert work.done >= 10
    work.stop()
    assert work.wait(240).state == "failed"


def test_results_are_not_kept_for_ever():
    background = BackgroundRunner()
    for number in range(2 * MAX_FINISHED):
        background.start(f"count {number}", lambda report: 1).wait(240)
    assert background.get("count 0") is None
    assert background.get(f"count {2 * MAX_FINISHED - 1}").result == 1
    background.forget("count ")
    assert background.get(f"count {2 * MAX_FINISHED - 1}") is None


def test_work_that_a_servers_end_interrupted_is_reported_by_the_next(tmp_path):
    """The work of a server that lives is not reported."""
    script = """
import sys, threading
from pathlib import Path
from camelid_ui.services.background_work import BackgroundRunner
background = BackgroundRunner(Path(sys.argv[1]))
background.start("done", lambda report: 1).wait(240)
background.start("long", lambda report: threading.Event().wait())
print("under way", flush=True)
sys.stdin.read()
"""
    server = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "notes")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with server:
        assert server.stdout.readline() == b"under way\n"
        assert BackgroundRunner(tmp_path / "notes").get("long") is None
        server.kill()
    background = BackgroundRunner(tmp_path / "notes")
    assert background.get("done") is None
    assert (background.get("long").state, background.get("long").error) == ("failed", INTERRUPTED)
    assert background.start("long", lambda report: 2).wait(240).result == 2
    assert BackgroundRunner(tmp_path / "notes").get("long") is None
