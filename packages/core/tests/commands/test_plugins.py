"""`camelid plugins`."""

from __future__ import annotations

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
    assert {"plugin": "camelid-quiet", "version": "1", "gives": []} in rows
