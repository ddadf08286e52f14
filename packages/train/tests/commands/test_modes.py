"""After a real run: nothing in home is anybody else's to read, what was published is, and no credential is anywhere."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

UMASK = 0o022
SECRET = "geheimnis"
TOLD = {"jobs.sqlite3", "log.txt", "events.jsonl", "result.json", "process.json"}


def camelid(*arguments):
    command = [sys.executable, "-m", "camelid_core.cli", *map(str, arguments)]
    secrets = {"HF_TOKEN": SECRET, "CAMELID_API_KEY": SECRET, "HTTPS_PROXY": f"http://user:{SECRET}@127.0.0.1:9"}
    environment = os.environ | secrets | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, umask=UMASK)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def run(home, base, sums):
    """A run that published a model into the working directory, and the archive of it."""
    settings = {"model.name": str(base()), "data.sources": [str(sums)], "data.template": "chatml"}
    settings |= {"train.max_steps": 2, "data.eval_rows": 4, "train.output": "./mine", "model.dtype": "float32"}
    camelid("train", *(f"{name}={json.dumps(value)}" for name, value in settings.items()))
    camelid("jobs", "bundle", 1, "--out", "again.zip")


def modes(path):
    return {each: stat.S_IMODE(each.stat().st_mode) for each in (path, *path.rglob("*"))}


@pytest.mark.slow
def test_a_run_keeps_to_itself_and_its_result_is_to_be_shared(run, home):
    inside = modes(home)
    attempts = {path for path in inside if path.parent.parent == home / "runs"}
    closed = {home, *home.iterdir(), *attempts, *(path for path in inside if path.name in TOLD)}
    assert {path.name for path in closed} >= {"home", "runs", "cache", "1", *TOLD}
    assert [path for path in closed if inside[path] & 0o077] == []
    assert [path for path in inside if path.is_relative_to(home / "cache") and inside[path] & 0o077] == []

    for path, mode in modes(Path("mine")).items():
        assert mode == (0o777 if path.is_dir() else 0o666) & ~UMASK, path

    with zipfile.ZipFile("again.zip") as archive:
        said = {name: archive.read(name) for name in archive.namelist()}
    said |= {path: path.read_bytes() for path in (*inside, *Path("mine").rglob("*")) if path.is_file()}
    assert [name for name, content in said.items() if SECRET.encode() in content] == []
