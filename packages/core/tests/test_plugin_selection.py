"""`--no-plugins` and `--only-plugins`: which plugins a program and all that it starts load."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from camelid_core.errors import UnavailableName, UnknownName, UsageError
from camelid_core.plugin_host import discovery
from camelid_core.plugin_host.discovery import discover
from camelid_core.plugin_host.selection import NO_PLUGINS, ONLY_PLUGINS, PluginSelection, select_plugins
from camelid_core.plugins import FIRST_PARTY, Host

TEMPLATES = """
import pathlib
from camelid_core import hookimpl
from camelid_core.templates.role_template import RoleTemplate
pathlib.Path(__file__).with_suffix(".imported").touch()

@hookimpl
def camelid_prompt_templates():
    return [RoleTemplate("{}", "x", user="{{content}}", assistant=">")]
"""


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """Two plugins on the path, `camelid-one` and `camelid-two`, each with a template of its name."""
    for name in ("one", "two"):
        (tmp_path / f"copied_{name}.py").write_text(TEMPLATES.replace("{}", name, 1))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(discovery.PLUGINS_VARIABLE, "camelid-one==1=copied_one camelid-two==1=copied_two")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    yield tmp_path
    for name in ("one", "two"):
        sys.modules.pop(f"copied_{name}", None)


def loaded(selection: PluginSelection) -> tuple[set[str], set[str]]:
    found = discover(selection)
    return {each.name for each in found.plugins if each.name not in FIRST_PARTY}, set(found.excluded)


def test_all_are_loaded_where_nothing_is_chosen(copied):
    names, excluded = loaded(PluginSelection())
    assert {"camelid-one", "camelid-two"} <= names
    assert excluded == set()


def test_none_means_our_own_packages_alone_and_imports_no_other(copied):
    names, excluded = loaded(PluginSelection(()))
    assert names == set()
    assert {"camelid-one", "camelid-two"} <= excluded
    assert list(copied.glob("*.imported")) == []


@pytest.mark.parametrize("typed", ["one", "camelid-one", "Camelid_One", " one , camelid-core"])
def test_those_that_are_named_are_loaded_however_the_name_is_written(copied, monkeypatch, typed):
    monkeypatch.setenv(ONLY_PLUGINS, typed)
    names, excluded = loaded(PluginSelection.from_environment())
    assert names == {"camelid-one"}
    assert "camelid-two" in excluded
    assert {path.stem for path in copied.glob("*.imported")} == {"copied_one"}


def test_an_unknown_name_is_refused_with_the_nearest(copied):
    with pytest.raises(UnknownName, match=r"plugin 'camelid-tow' is not known\. Did you mean 'camelid-two'\?"):
        discover(PluginSelection(("tow",)))


def test_a_name_of_a_plugin_that_is_left_out_is_said_to_be(copied):
    host = Host()
    host.add(discover(PluginSelection(("one",))), "--only-plugins one")
    assert "one" in host.templates
    with pytest.raises(UnavailableName, match=r"that --only-plugins one leaves out: .*camelid-two"):
        host.templates["two"]


def test_two_choices_at_once_are_refused(monkeypatch):
    monkeypatch.setenv(NO_PLUGINS, "1")
    monkeypatch.setenv(ONLY_PLUGINS, "one")
    with pytest.raises(UsageError, match="CAMELID_NO_PLUGINS and CAMELID_ONLY_PLUGINS are both set"):
        PluginSelection.from_environment()


@pytest.mark.parametrize("typed", ["", " ", ","])
def test_only_wants_a_name(typed):
    with pytest.raises(UsageError, match="names no plugin"):
        select_plugins({}, typed)


def test_an_option_wins_over_the_environment():
    environment = {ONLY_PLUGINS: "one"}
    select_plugins(environment, None)
    assert environment == {NO_PLUGINS: "1"}
    select_plugins(environment, "Two")
    assert environment == {ONLY_PLUGINS: "two"}


def run(*arguments: str, home: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "camelid_core.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"CAMELID_HOME": str(home)})


def test_the_options_hold_for_the_program_and_are_said(copied, tmp_path):
    shown = run("--only-plugins", "one", "templates", "show", "one", home=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr.startswith("camelid: --only-plugins one leaves out ")
    assert "camelid-two" in shown.stderr
    refused = run("--no-plugins", "templates", "show", "one", home=tmp_path)
    assert refused.returncode == 2
    assert "camelid-one" in refused.stderr


def test_an_attempt_of_a_job_inherits_the_choice_and_its_log_says_so(copied, home, monkeypatch):
    from camelid_core.jobs.foreground import run_in_foreground

    monkeypatch.setenv(ONLY_PLUGINS, "two")
    job = run_in_foreground("no-such-task", {})
    assert "--only-plugins two leaves out" in job.error
    (log,) = (path.read_text() for path in home.rglob("log.txt"))
    assert "--only-plugins two: these plugins are left out: " in log
    assert "camelid-one" in log
