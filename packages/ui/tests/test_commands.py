"""`camelid ui`: what it refuses, and its address file."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest
from camelid_core import staging
from camelid_core.errors import UsageError
from camelid_ui import commands
from camelid_ui.browser import browser_opened_at


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org"])
def test_open_to_all_without_a_token_is_refused(host):
    with pytest.raises(UsageError, match="no-token") as caught:
        commands.ui(host=host, port=0, token=False)
    assert caught.value.exit_code == 2
    assert "ssh -L" in str(caught.value)


def test_an_unknown_profile_is_refused_before_anything_starts():
    with pytest.raises(UsageError, match="local or demo"):
        commands.ui(port=0, profile="demos")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda each: each.name)
def test_the_server_starts_answers_and_leaves_nothing_behind(home, tmp_path, monkeypatch, ending):
    """What a kill of an earlier one left is gone when it answers; what its own leaves goes with the next."""
    (left := home / "models" / f".x.{'0' * 16}.partial").mkdir(parents=True)
    environment = os.environ | {"TMPDIR": str(tmp_path), "BROWSER": str(_browser(tmp_path))}
    log = tmp_path / "log.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "camelid_core.cli", "ui", "--port", "0", "--open"],
            env=environment,
            stdout=file,
            stderr=file,
        )
    try:
        deadline = time.monotonic() + 240
        while not _answers(home / "ui.json"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        token = json.loads((home / "ui.json").read_text())["token"]
        page = _page(tmp_path / "browsed", token)
        process.send_signal(ending)
        process.wait(240)
    finally:
        process.kill()
    assert "?token=" in log.read_text()
    killed = ending == signal.SIGKILL
    assert not left.exists()
    assert (home / "ui.json").exists() == page.exists() == killed
    assert len(list(tmp_path.glob(".camelid-ui.*"))) == killed
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with staging.scratch("camelid-ui"):
        assert len(list(tmp_path.glob(".camelid-ui.*"))) == 1
    _end_workers(home)


def test_a_browser_that_reads_no_hidden_directory_is_given_a_file_it_can_read(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CAMELID_HOME", str(tmp_path / ".camelid"))
    monkeypatch.setenv("BROWSER", str(_browser(tmp_path)))
    for snaps in (False, True):
        with browser_opened_at("http://127.0.0.1:1/?token=a%22&b='<c>", 1):
            page = _page(tmp_path / "browsed", "a%22&b='<c>")
            assert page.parent == (tmp_path if snaps else tmp_path / ".camelid")
        assert not page.exists()
        (tmp_path / "snap").mkdir(exist_ok=True)


def _browser(directory):
    """A program that writes down what it is started with, as everybody on the machine can read it."""
    program = directory / "browser"
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$0\" \"$@\" > '{directory / 'browsed'}'\n")
    program.chmod(0o700)
    return program


def _page(browsed, token):
    """The file that a browser was started with: it says nothing of the token on its command line, leads to the
    pages, and is for its owner alone."""
    said = browsed.read_text()
    assert token not in unquote(said)
    page = Path(said.split()[-1].removeprefix("file://"))
    assert page.stat().st_mode & 0o077 == 0
    leads = re.findall(r'(?:0;url=|href=)"?([^"]+)"', page.read_text())
    assert len(leads) == 2
    assert all(unescape(each).endswith(f"/?token={token}") for each in leads), leads
    return page


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

    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        with sqlite3.connect(home / "jobs.sqlite3") as table:
            found = [row[0] for row in table.execute("SELECT pid FROM worker WHERE name <> 'starting'")]
        for each in found:
            os.kill(each, signal.SIGTERM)
        if found:
            return
        time.sleep(0.2)
