"""Camelid's home is private to its owner, whatever the umask was and whoever made it."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from pathlib import Path

import pytest
from camelid_core import file_permissions
from camelid_core.datasets import feedback
from camelid_core.jobs.foreground import open_store
from camelid_core.paths import data_dir
from camelid_core.testing import write_jsonl


@contextmanager
def umask(bits):
    before = os.umask(bits)
    try:
        yield
    finally:
        os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("bits", [0o000, 0o022])
def test_who_writes_first_makes_a_home_for_its_owner_alone(home, tmp_path, camelid, bits):
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"instruction": "a", "output": "b"}])
    with umask(bits):
        assert camelid("datasets", "add", rows, "--name", "mine").err == ""
        open_store().submit("sleep", {})
        feedback.append_feedback(data_dir() / "judged.jsonl", [{"id": "1", "verdict": "good"}])
    assert {path.name for path in home.rglob("*")} >= {"jobs.sqlite3", "judged.jsonl", "records.jsonl", "about.json"}
    for path in (home, *home.rglob("*")):
        assert mode(path) == (0o700 if path.is_dir() else 0o600), path


def test_what_is_outside_of_home_is_made_as_everybody_makes_it(home, tmp_path):
    with umask(0o022):
        file_permissions.make_private_directory(tmp_path / "a" / "b")
        home.parent.joinpath("deep").mkdir()
        file_permissions.make_private_directory(
            home.parent / "deep" / "x" / "home" / "y", home.parent / "deep" / "x" / "home"
        )
    assert [mode(tmp_path / each) for each in ("a", "a/b", "deep/x", "deep/x/home", "deep/x/home/y")] == [
        0o755, 0o755, 0o755, 0o700, 0o700,
    ]  # fmt: skip


@pytest.mark.parametrize("before", [0o755, 0o770, 0o2711])
def test_a_home_that_was_open_is_closed_and_that_is_said_once(home, camelid, before):
    home.mkdir()
    home.chmod(before)
    said = [camelid("jobs", "list").err for _ in range(2)]
    assert mode(home) == before & 0o7700
    assert said == [f"camelid: {str(home)!r} was open to others on this machine; now it is yours alone.\n", ""]


def test_whoever_only_uses_the_library_closes_it_too(home, capsys):
    home.mkdir(0o755)
    open_store()
    assert mode(home) == 0o700
    assert "yours alone" in capsys.readouterr().err


def test_what_is_not_ours_or_everybodys_stays_as_it_is(tmp_path, capsys):
    everybodys = tmp_path / "tmp"
    everybodys.mkdir()
    everybodys.chmod(0o1777)
    others = Path("/usr")  # who may give things away has some made for the test
    if os.geteuid() == 0:
        others = tmp_path / "others"
        others.mkdir(0o755)
        os.chown(others, 12345, 12345)
    for place in (everybodys, others, tmp_path / "nothing"):
        before = mode(place) if place.exists() else None
        file_permissions.restrict_to_owner(place)
        assert (mode(place) if place.exists() else None) == before
    assert capsys.readouterr().err == ""
