"""Output of commands: tables for people, JSON for programs, progress with the time left."""

from __future__ import annotations

import io
import json

import pytest
from camelid_core.commands.output import ProgressPrinter, print_rows

ROWS = [{"name": "a", "rows": 12345, "tags": ["x", "y"]}, {"name": "中文名", "rows": 7, "tags": []}]


def test_json_is_the_rows_themselves(capsys):
    print_rows(ROWS, True)
    assert json.loads(capsys.readouterr().out) == ROWS


def test_a_table_is_aligned_by_what_a_terminal_shows(capsys):
    print_rows(ROWS, False)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["name    rows    tags", "a       12,345  x, y", "中文名  7"]


@pytest.mark.parametrize(("as_json", "printed"), [(False, "Nobody.\n"), (True, "[]\n")])
def test_nothing_to_list_is_said(capsys, as_json, printed):
    print_rows([], as_json, empty="Nobody.")
    assert capsys.readouterr().out == printed


def events():
    for step in (1, 2, 3):
        yield {"kind": "progress", "time": step * 10.0, "done": step, "total": 3, "unit": "steps", "eta": 3.0 - step}
    yield {"kind": "train", "time": 31.0, "step": 3, "loss": 0.123456}
    yield {"kind": "log", "time": 32.0, "text": "saved [bold]"}
    yield {"kind": "something", "time": 33.0}


def test_elsewhere_than_on_a_terminal_progress_is_plain_lines(capsys):
    printer = ProgressPrinter()
    for event in events():
        printer(event)
    printer.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert "3/3" in err
    assert "loss=0.1235" in err
    assert "saved [bold]" in err
    assert "\x1b" not in err


def test_a_step_is_a_line_without_what_is_for_plots_and_a_sample_its_first_lines(capsys):
    printer = ProgressPrinter()
    printer(
        {"kind": "train", "time": 1.0, "step": 3, "loss": 0.5, "memory": 10**9, "tokens_per_second": 9.0, "mfu": 0.4}
    )
    printer(
        {
            "kind": "sample",
            "time": 2.0,
            "step": 3,
            "index": 0,
            "prompt": "Why?\nSay!",
            "answer": " Because. " + "x" * 99,
        }
    )
    printer({"kind": "sample", "time": 2.0, "step": 3, "index": 1, "prompt": "Who?", "answer": "", "reference": "I."})
    assert capsys.readouterr().err.splitlines() == [
        "train  step=3  loss=0.5",
        "step 3: Why? … → Because. " + "x" * 61 + " …",
        "step 3: Who? → ",
    ]


def test_quiet_prints_nothing(capsys):
    printer = ProgressPrinter(quiet=True)
    for event in events():
        printer(event)
    printer.close()
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_is_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    printer = ProgressPrinter()
    for event in events():
        printer(event)
    printer.close()
    assert "\x1b[" in terminal.getvalue()
    assert "saved [bold]" in terminal.getvalue()


def test_what_became_of_the_rows_is_a_sentence(capsys):
    counts = {"rows": 1040, "kept": 1038, "truncated": 5, "dropped": 2, "heldout": 8}
    sources = [
        {"source": "a.json", "before": 1100, "after": 1000, "left out": "copy 90, held out 8"},
        {"source": "b", "before": 40, "after": 40, "left out": "–"},
    ]
    tokens = {"trained_tokens": 870, "total_tokens": 5313}
    ProgressPrinter()({"kind": "data", "time": 1.0, **counts, **tokens, "sources": sources})
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == (
        "1,040 rows: 1,038 kept (5 of them shortened to the cut-off), 2 left out because no answer is left of them; "
        "8 more are held out. 870 of 5,313 tokens are trained."
    )
    assert lines[1:] == ["  a.json: 1,000 of 1,100 rows (left out: copy 90, held out 8)", "  b: 40 of 40 rows"]
