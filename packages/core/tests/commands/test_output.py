"""How commands print: aligned for people, exact for programs, progress that says when it will end."""

from __future__ import annotations

import io
import json

import pytest
from camelid_core.commands.output import ProgressPrinter, show

ROWS = [{"name": "a", "rows": 12345, "tags": ["x", "y"]}, {"name": "中文名", "rows": 7, "tags": []}]


def test_json_is_the_rows_themselves(capsys):
    show(ROWS, True)
    assert json.loads(capsys.readouterr().out) == ROWS


def test_a_table_is_aligned_by_what_a_terminal_shows(capsys):
    show(ROWS, False)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["name    rows    tags", "a       12,345  x, y", "中文名  7"]


@pytest.mark.parametrize(("as_json", "printed"), [(False, "Nobody.\n"), (True, "[]\n")])
def test_nothing_to_list_is_said(capsys, as_json, printed):
    show([], as_json, empty="Nobody.")
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
