"""`camelid ui`: what it refuses, and the file that says where it is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from camelid_core.errors import UsageError
from camelid_ui import commands


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org"])
def test_open_to_all_without_a_token_is_refused(host):
    with pytest.raises(UsageError, match="no-token") as caught:
        commands.ui(host=host, port=0, token=False)
    assert caught.value.exit_code == 2
    assert "ssh -L" in str(caught.value)


def test_a_profile_that_is_not_there_is_refused_before_anything_starts():
    with pytest.raises(UsageError, match="local or demo"):
        commands.ui(port=0, profile="demos")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
def test_the_server_starts_answers_and_leaves_nothing_behind(home, tmp_path, ending):
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    log = tmp_path / "log.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "camelid_core.cli", "ui", "--port", "0"], env=environment, stdout=file, stderr=file
        )
    try:
        deadline = time.monotonic() + 60
        while not _answers(home / "ui.json"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        process.send_signal(ending)
        process.wait(20)
    finally:
        process.kill()
    assert "?token=" in log.read_text()
    assert not (home / "ui.json").exists()
    assert list(tmp_path.glob("camelid-ui-*")) == []
    _end_workers(home)


def _answers(address):
    from urllib.request import urlopen

    try:
        port = json.loads(address.read_text())["port"]
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as response:
            return response.status == 200
    except (OSError, ValueError):
        return False


def _end_workers(home):
    """The server makes sure that a worker lives; this test has no use for it."""
    import sqlite3

    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with sqlite3.connect(home / "jobs.sqlite3") as table:
            found = [row[0] for row in table.execute("SELECT pid FROM worker WHERE name <> 'starting'")]
        for each in found:
            os.kill(each, signal.SIGTERM)
        if found:
            return
        time.sleep(0.2)
