"""The `camelid` program: lazy commands, start-up time, error messages and exit codes."""

from __future__ import annotations

import os
import re
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
import typer
from camelid_core import cli
from camelid_core.commands import Command
from camelid_core.errors import CamelidError, MissingPackage, TrainingError, UnknownName, UsageError
from camelid_core.plugins import Host
from camelid_core.registry import Registry

HELP = [sys.executable, "-m", "camelid_core.cli", "--help"]


def test_help_lists_every_command_with_one_line(camelid):
    ran = camelid("--help")
    assert ran.code == 0
    for command in ("models", "datasets", "templates", "plugins", "jobs", "worker"):
        assert f"  {command}" in ran.out


def test_nothing_to_do_shows_help(camelid):
    ran = camelid()
    assert "Usage: camelid" in ran.out + ran.err
    assert ran.code == 2


@pytest.mark.parametrize("group", ["models", "datasets", "templates", "plugins", "jobs", "worker", "train", "merge"])
def test_every_command_explains_itself(camelid, group):
    ran = camelid(group, "--help")
    assert ran.code == 0
    assert f"camelid {group}" in ran.out


def test_an_unknown_command_suggests_the_nearest_and_is_a_usage_error(camelid):
    ran = camelid("modls", "list")
    assert ran.code == 2
    assert "there is no command 'modls'. Did you mean 'models'? `camelid --help` shows all." in ran.err


def test_an_argument_that_is_no_text_is_a_sentence(camelid):
    ran = camelid("datasets", "inspect", os.fsdecode(b"caf\xe9.csv"))
    assert ran.code == 2
    assert "argument 3, b'caf\\xe9.csv', is not UTF-8" in ran.err


@pytest.mark.parametrize("arguments", [["--no-such-option"], ["models", "--no-such-option"], ["models", "fly"]])
def test_what_was_typed_wrong_is_exit_code_2(camelid, arguments):
    ran = camelid(*arguments)
    assert ran.code == 2
    assert "No such" in ran.err


@pytest.fixture
def command(monkeypatch):
    """A program with one command, `go`, that does what is given."""

    def make(action):
        app = typer.Typer()
        app.command()(action)
        commands = Registry("command")
        commands.add(Command("go", "Go.", "here:app"), "test")
        host = Host()
        host._registries["camelid_commands"] = commands
        monkeypatch.setattr(cli, "load_host", lambda: host)
        monkeypatch.setattr(cli, "import_attribute", lambda target: app)

    return make


def raising(error):
    def action():
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("so"), 2),
        (UnknownName("thing", "x", []), 2),
        (TrainingError("so"), 1),
        (MissingPackage("so"), 1),
        (CamelidError("so"), 1),
        (typer.Exit(1), 1),
        (SystemExit(7), 7),
    ],
)
def test_an_error_becomes_a_sentence_and_an_exit_code(camelid, command, error, code):
    command(raising(error))
    ran = camelid("go")
    assert ran.code == code
    assert "Traceback" not in ran.err
    if isinstance(error, CamelidError):
        assert ran.err == f"camelid: {error}\n"
    assert ran.out == ""


LONG = "x" * 300


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (PermissionError(13, "Permission denied", "/there"), "Permission denied: '/there'"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("it is not so"), "it is not so"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_what_the_system_refuses_is_a_sentence(camelid, command, error, sentence):
    command(raising(error))
    ran = camelid("go")
    assert (ran.code, ran.out, ran.err) == (1, "", f"camelid: {sentence}\n")


@pytest.mark.parametrize("place", ["file", "file/deep", "/proc/none"])
@pytest.mark.parametrize("arguments", [["jobs", "list"], ["worker", "--once"]])
def test_a_home_that_cannot_be_one_is_a_sentence(camelid, tmp_path, monkeypatch, place, arguments):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CAMELID_HOME", str(tmp_path / place))
    ran = camelid(*arguments)
    assert ran.code == 1
    assert ran.err.startswith("camelid: ")
    assert ran.err.endswith("'. CAMELID_HOME chooses another directory.\n")


@pytest.mark.parametrize("place", [LONG, "~nobody-of-that-name/x"])
def test_a_home_that_nothing_can_be_called_is_what_was_typed_wrong(camelid, monkeypatch, place):
    monkeypatch.setenv("CAMELID_HOME", place)
    ran = camelid("jobs", "list")
    assert ran.code == 2
    assert re.fullmatch(r"camelid: CAMELID_HOME '[^']+' cannot be used: .*\. Give .*\.\n", ran.err)


@pytest.mark.parametrize("given", [LONG, "~nobody-of-that-name/x"])
def test_the_paths_that_a_command_takes_are_looked_at_before_it_begins(camelid, command, given):
    def action(source: Path, more: list[Path], into: Annotated[Path | None, typer.Option()] = None) -> None:
        typer.echo(f"{source} {more} {into}")

    command(action)
    for arguments, what in (([given], "source"), (["a", given], "more"), (["a", "--into", given], "--into")):
        ran = camelid("go", *arguments, "b")
        assert (ran.code, ran.out) == (2, "")
        assert re.fullmatch(rf"camelid: {what} '[^']+' cannot be used: .*\.\n", ran.err)
    assert camelid("go", "~/a", "b").out == f"{Path.home() / 'a'} [{Path('b')!r}] None\n"


def test_interrupted_is_exit_code_130(camelid, command):
    command(raising(KeyboardInterrupt()))
    ran = camelid("go")
    assert ran.code == 130
    assert "Traceback" not in ran.err


def test_a_reader_that_leaves_is_no_error():
    code = f"{sys.executable} -m camelid_core.cli templates show alpaca | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout in ("0\n", "1\n")
    assert "Traceback" not in done.stderr


def test_a_fault_of_ours_keeps_its_traceback(camelid, command):
    command(raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        camelid("go")


def test_help_imports_nothing_heavy():
    code = (
        "import runpy, sys\n"
        "sys.argv = ['camelid', '--help']\n"
        "try: runpy.run_module('camelid_core.cli', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'datasets', 'gradio', 'numpy', 'tokenizers', 'peft', 'fastapi'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("heavy: []\n")


def test_help_answers_at_once():
    """The promise is 0.3 s, of which typer's own import takes a third: both are measured, so that a slow or busy
    machine is slow at both."""

    def once(command: list[str]) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    both = [(once(HELP), once([sys.executable, "-c", "import typer.main, rich.console"])) for _ in range(5)]
    assert statistics.median(ours / theirs for ours, theirs in both) <= 5
