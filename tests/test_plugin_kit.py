"""`camelid plugins new`: for every kind a distribution that pip installs, that Camelid finds, and whose tests pass."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from camelid_core.commands.plugins import app
from camelid_core.plugin_kit.plugin_kind import plugin_kinds
from camelid_core.plugin_kit.plugin_name import PluginName
from camelid_core.plugin_kit.skeleton import plugin_files
from typer.testing import CliRunner

ROOT = Path(__file__).parent.parent
KINDS = plugin_kinds().names()
LONGEST = "thirty-two-small-letters-are-it-"[:31] + "s"
"""A name as long as names may be."""


def test_every_kind_that_issues_promise_is_there():
    expected = {"model", "template", "dataset", "reader", "engine", "exporter", "method", "objective", "tab"}
    assert set(KINDS) == expected


@dataclass(frozen=True)
class Installed:
    """Plugins of every kind, installed by pip beside this environment's packages; `run` runs a program with them."""

    sources: Path
    library: Path
    home: Path

    @property
    def variables(self) -> dict[str, str]:
        path = os.pathsep.join([str(self.library), *filter(None, [os.environ.get("PYTHONPATH")])])
        return os.environ | {"PYTHONPATH": path, "CAMELID_HOME": str(self.home), "HF_HUB_OFFLINE": "1"}

    def run(self, *command: object) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, command)], capture_output=True, text=True, env=self.variables, cwd=self.sources
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def pages(self) -> dict[str, Any]:
        """What a browser gets of a server that is started now."""
        command = [sys.executable, "-m", "camelid_core.cli", "ui", "--port", "0", "--no-token"]
        with (self.home / "ui.log").open("wb") as log:
            process = subprocess.Popen(command, env=self.variables, cwd=self.sources, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 240
            while (config := self._config()) is None:
                assert process.poll() is None, (self.home / "ui.log").read_text()
                assert time.monotonic() < deadline, (self.home / "ui.log").read_text()
                time.sleep(0.3)
            return config
        finally:
            process.terminate()
            process.wait(120)

    def _config(self) -> dict[str, Any] | None:
        try:
            port = json.loads((self.home / "ui.json").read_text(encoding="utf-8"))["port"]
            with urlopen(f"http://127.0.0.1:{port}/config", timeout=60) as response:
                return json.load(response)
        except (OSError, ValueError):
            return None

    def camelid(self, *arguments: object) -> str:
        return self.run("-m", "camelid_core.cli", *arguments)


LISTINGS = {kind.listing for kind in plugin_kinds()} - {"camelid ui"}


def name_of(kind: str) -> str:
    return f"camelid-demo-{kind}"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Installed:
    sources, library = tmp_path_factory.mktemp("kit"), tmp_path_factory.mktemp("library")
    made = Installed(sources, library, tmp_path_factory.mktemp("home"))
    for kind in KINDS:
        done = CliRunner().invoke(app, ["new", name_of(kind), "--kind", kind, "--out", str(sources)])
        assert done.exit_code == 0, done.output
    quiet = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation")
    made.run("-m", "pip", "install", *quiet, "--target", library, *(f"./{name_of(kind)}" for kind in KINDS))
    return made


@pytest.mark.install
def test_what_is_written_for_a_kind_is_a_sound_plugin(installed):
    rows = json.loads(installed.camelid("plugins", "list", "--json"))
    given = {row["plugin"]: row["gives"] for row in rows if row["plugin"].startswith("camelid-demo-")}
    assert given == {name_of(kind): [f"demo-{kind}"] for kind in KINDS}
    installed.camelid("plugins", "doctor")


@pytest.mark.install
def test_the_command_that_is_named_shows_it(installed):
    shown = {listing: installed.camelid(*listing.split()[1:]) for listing in LISTINGS}
    for kind in plugin_kinds():
        if kind.name != "tab":  # its command starts the pages: see below
            assert kind.listing.startswith("camelid ")
            assert f"demo-{kind.name}" in re.sub(r"\s+", "", shown[kind.listing])  # help is wrapped where it has to be


@pytest.mark.install
def test_its_own_tests_pass_at_once(installed):
    """One run for all: they are collected by file, as `pytest DIRECTORY` does for one."""
    options = ("-q", "-p", "no:cacheprovider", "--import-mode=importlib", "--rootdir", installed.sources)
    report = installed.run("-m", "pytest", *options, *(installed.sources / name_of(kind) for kind in KINDS))
    passed = re.search(r"(\d+) passed", report)
    assert passed
    assert int(passed[1]) >= 3 * len(KINDS)
    assert not re.search(r"skipped|xfailed|deselected", report)


@pytest.mark.install
def test_the_pages_offer_it_once_their_server_is_started_anew(installed):
    """Nothing else is started: tab, template, method and objective are in what the browser gets of a new server."""
    components = installed.pages()["components"]
    assert "demo-tab" in [each["props"].get("id") for each in components if each["type"] == "tabitem"]
    choices = json.dumps([each["props"].get("choices") for each in components])
    for kind in ("template", "method", "objective"):
        assert f'"demo-{kind}"' in choices, kind


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["ab", LONGEST], ids=["short", "long"])
def test_the_source_is_clean_whatever_it_is_called(tmp_path, kind, name):
    """ruff as the plugin's own pyproject.toml sets it up."""
    for place, text in plugin_files(plugin_kinds()[kind], PluginName(name), "0.1.0").items():
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for command in (["check"], ["format", "--check", "--diff"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", "."], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_typed_tested_and_documented(kind):
    files = plugin_files(plugin_kinds()[kind], PluginName("camelid-x"), "0.1.0")
    project = tomllib.loads(files["pyproject.toml"])["project"]
    assert project["entry-points"]["camelid"] == {"camelid-x": "camelid_x"}
    assert all(need.startswith("camelid-") and need.endswith(">=0.1,<0.2") for need in project["dependencies"])
    assert files["src/camelid_x/py.typed"] == ""
    assert f"tests/test_{kind}.py" in files
    assert "_contract(" in files[f"tests/test_{kind}.py"]
    assert plugin_kinds()[kind].listing in files["README.md"]
    assert not [place for place, text in files.items() if "$" in text]


@pytest.mark.slow
def test_the_source_is_typed_strictly(tmp_path):
    """mypy as the plugins' own pyproject.toml sets it up, for all kinds in one run."""
    for kind in KINDS:
        files = plugin_files(plugin_kinds()[kind], PluginName(name_of(kind)), "0.1.0")
        for place, text in files.items():
            if place.startswith("src/") or place == "pyproject.toml":
                path = tmp_path / place
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", ROOT / ".mypy_cache" / "plugins"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
