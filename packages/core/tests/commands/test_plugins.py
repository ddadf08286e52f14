"""`camelid plugins`."""

from __future__ import annotations

from pathlib import Path

import camelid_core
import pytest
from camelid_core.commands import plugins as command
from camelid_core.plugins import Host, Plugin, Problem, load_host


@pytest.fixture
def sick(monkeypatch):
    """A host with one sound plugin of ours and one that is not."""
    host = Host()
    host.load([plugin for plugin in load_host().plugins if plugin.name == "camelid-core"])
    host.problems.append(Problem("camelid-foo", "it broke.", "Traceback: deep inside"))
    monkeypatch.setattr(command, "load_host", lambda: host)
    return host


def test_list_says_what_each_gives(camelid):
    rows = {row["plugin"]: row for row in camelid("plugins", "list", "--json").json}
    assert {"alpaca", "cot-arithmetic", "llama", "models"} <= set(rows["camelid-core"]["gives"])
    assert rows["camelid-core"]["version"]


def test_doctor_finds_nothing_where_all_is_sound(camelid):
    ran = camelid("plugins", "doctor")
    assert ran.code == 0
    assert "plugins are sound" in ran.out
    assert camelid("plugins", "doctor", "--json").json == []


def test_doctor_names_the_plugin_and_leaves_with_1(camelid, sick):
    ran = camelid("plugins", "doctor")
    assert ran.code == 1
    assert "camelid-foo  it broke." in ran.out
    assert "deep inside" not in ran.out
    assert "deep inside" in camelid("plugins", "doctor", "--verbose").out


def test_doctor_in_json(camelid, sick):
    ran = camelid("plugins", "doctor", "--json", "--verbose")
    assert ran.code == 1
    assert ran.json == [{"plugin": "camelid-foo", "problem": "it broke.", "detail": "Traceback: deep inside"}]


def test_a_plugin_that_gives_nothing_is_listed_all_the_same(camelid, sick):
    import types

    sick.load([Plugin("camelid-quiet", "1", types.ModuleType("quiet"))])
    rows = camelid("plugins", "list", "--json").json
    (row,) = [row for row in rows if row["plugin"] == "camelid-quiet"]
    assert (row["version"], row["gives"], row["adds"], row["source"]) == ("1", [], {}, "this process")


def test_list_says_where_each_came_from_and_how_much_it_adds(camelid):
    rows = {row["plugin"]: row for row in camelid("plugins", "list", "--json").json}
    core = rows["camelid-core"]
    assert core["adds"]["camelid_readers"]
    assert sum(map(len, core["adds"].values())) == len(core["gives"])
    assert Path(core["location"]) == Path(camelid_core.__file__).parent
    assert core["entry_point"] == "camelid_core.plugin"
    assert core["source"] in ("installed", "editable")
    table = camelid("plugins", "list").out
    assert f"{len(core['adds']['camelid_prompt_templates'])} prompt templates" in table
    assert core["location"] in table


def test_show_says_everything_of_one_plugin_by_hook(camelid, sick):
    shown = camelid("plugins", "show", "core").out
    assert "prompt templates" in shown
    assert "vicuna" in shown
    ran = camelid("plugins", "show", "camelid-cores")
    assert ran.code == 2
    assert "Did you mean 'camelid-core'?" in ran.err


def test_what_is_slow_and_what_is_left_out_is_said(camelid, sick):
    sick.warnings.append(Problem("camelid-slow", "importing it took 3.2 s, for which every start waits."))
    sick.excluded, sick.exclusion = ["camelid-x"], "--only-plugins core"
    report = camelid("plugins", "doctor").out
    assert "camelid-slow: slow: importing it took 3.2 s" in report
    assert "--only-plugins core leaves out camelid-x." in report
    assert "--only-plugins core leaves out camelid-x." in camelid("plugins", "list").out
    rows = camelid("plugins", "list", "--json").json
    assert rows[-1] == {"plugin": "camelid-x", "left_out_by": "--only-plugins core"}
