"""Paths: valid names, and the directories below the home."""

from __future__ import annotations

import os
import string
from pathlib import Path

import pytest
from camelid_core import paths
from camelid_core.errors import UsageError
from camelid_core.paths import absolute_if_path, is_existing_path, safe_name, validated_path
from hypothesis import assume, given
from hypothesis import strategies as st

HOSTILE = [
    "", ".", "..", "...", "../x", "../../etc/passwd", "x/../y", "x/..", "/etc/passwd", "//etc", "x/y", "x//y",
    "./x", "~", "~root", "..\\x", "x\\y", "C:\\x", "C:x",
    "\\\\host\\share", "x\0", "x\0.json", "\0", "x\n", "x\ny", "x\r", "x\ty",
    " x", "x ", "x y", "-x", "--help", "_x", ".hidden", ".ssh", "a..b", "x..", "CON", "con.txt", "nul", "NUL.json",
    "aux", "COM1", "lpt9.log", "prn", "x:stream", "x*", "x?", "x|y", "x;y", "x&y", "$(x)", "`x`",
    "${HOME}", "%2e%2e%2f", "x%00", "\u202ex", "x\u2028y", "\uff0e\uff0e\uff0fx", "é", "名", "x" * 65, "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_name_that_could_leave_its_directory_or_confuse_a_tool_is_refused(name):
    with pytest.raises(UsageError, match=r"run name .* cannot be used: start with a letter or digit"):
        safe_name(name, "run name")


@given(st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=64))
def test_a_name_that_passes_is_one_plain_component(name):
    try:
        assert safe_name(name) == name
    except UsageError:
        assume(False)
    assert (Path("/base") / name).resolve() == Path("/base") / name
    assert Path(name).name == name


@pytest.mark.parametrize("name", ["a", "7b", "smollm2-135m", "run_1.final", "x" * 64, "console", "com10"])
def test_ordinary_names_pass(name):
    assert safe_name(name) == name


NO_NAMES = {
    "x" * 256: "a name may have 255 bytes, and one in it has 256. Give a shorter one",
    f"a/{'ü' * 128}.json": "a name may have 255 bytes, and one in it has 261. Give a shorter one",
    "x" * 5000: "a name may have 255 bytes, and one in it has 5,000. Give a shorter one",
    "/x" * 2500: "a path may have 4,095 bytes, and it has 5,000. Give a shorter one",
    "~nobody-of-that-name/x": "no home directory of a user 'nobody-of-that-name' is known. Give the whole path, .*",
    f"~{'x' * 5000}": "no home directory of a user 'xxx.*…x*' is known. Give the whole path, from / on",
    "a\0b": "it has a character of value zero, as no name has. Leave that out",
    "~\0/b": "it has a character of value zero, as no name has. Leave that out",
    "a\ud800b": "it has half a character, as no name has. Type it anew",
}


@pytest.mark.parametrize("text", NO_NAMES, ids=lambda text: ascii(text[:20]))
def test_what_nothing_can_be_called_is_said_in_a_sentence(text):
    with pytest.raises(UsageError, match=f"^output '.*' cannot be used: {NO_NAMES[text]}.$") as told:
        validated_path(text, "output")
    assert len(str(told.value)) < 600
    with pytest.raises(UsageError):
        absolute_if_path(text)
    assert not is_existing_path(text)


def test_what_a_file_can_be_called_is_taken_as_it_is(home):
    for text in ("x" * 255, "ü" * 127, "/x" * 2047, ".", "..", "", "a b\n", os.fsdecode(b"caf\xe9")):
        assert validated_path(text) == Path(text)
        assert validated_path(Path(text)) == Path(text)
    assert validated_path("~/x") == Path.home() / "x"


def test_where_no_home_is_known_it_is_said(monkeypatch):
    monkeypatch.setenv("CAMELID_HOME", "")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as where a user has no entry
    with pytest.raises(UsageError, match="no home directory of yours is known"):
        paths.home()


def test_all_state_is_below_the_home_that_the_environment_names(home):
    places = (paths.models_dir(), paths.artefacts_dir(), paths.data_dir())
    assert paths.home() == home
    assert {place.parent for place in places} == {home}


def test_without_the_variable_home_is_in_the_users_own(monkeypatch):
    monkeypatch.setenv("CAMELID_HOME", "")
    assert paths.home() == (Path.home() / ".camelid").resolve()


def test_what_is_a_path_means_the_same_elsewhere_and_a_plain_name_stays(home, monkeypatch):
    Path("here.jsonl").touch()
    Path("folder").mkdir()
    here = Path.cwd()
    assert absolute_if_path("here.jsonl") == str(here / "here.jsonl")
    assert absolute_if_path("./soon") == str(here / "soon")
    assert absolute_if_path("folder/soon") == str(here / "folder/soon")
    assert absolute_if_path("hub:folder/me/x:b1") == f"hub:{here}/folder/me/x:b1"
    assert absolute_if_path("/abs/x") == "/abs/x"
    assert absolute_if_path("~/x") == str(Path.home() / "x")
    for name in ("", "cot-arithmetic", "HuggingFaceTB/SmolLM2-135M"):
        assert absolute_if_path(name) == name
    absolute = absolute_if_path("here.jsonl")
    monkeypatch.chdir("/")
    assert absolute_if_path(absolute) == absolute
