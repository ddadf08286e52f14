"""Every directory of `plugins/` is a distribution of its own: it works where it alone is installed beside the four
packages, and takes along all that it added when it is removed.

The environment is that of `conftest.py`, with wheels that were built from here. Plugins are installed one after the
other: what the next one finds is also what the last one left behind.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

pytestmark = [pytest.mark.install, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[1]
PLUGINS = {f"camelid-{path.parent.name}": path.parent for path in sorted((ROOT / "plugins").glob("*/pyproject.toml"))}
OWN_TESTS = ("test_contract.py", "test_plugin.py")
"""Files of a plugin's own tests that need nothing but what it declares."""

SNAPSHOT = """
import contextlib, io, json, sys
from camelid_core import cli
from camelid_core.jobs import attempt
from camelid_core.plugins import load_host
from camelid_ui.services.plugins import PluginService

def printed(*arguments):
    sys.argv = ["camelid", *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        cli.main()
    return out.getvalue()

host = load_host()
problems = [(each.plugin, each.message) for each in host.check()]
registries = {hook: host.registry(hook) for hook in host.hooks() if hook != "camelid_hookspecs"}
print(json.dumps({
    "problems": problems,
    "provided": {f"{hook} {name}": each.plugin_of(name) for hook, each in registries.items() for name in each.names()},
    "commands": [line.split()[0] for line in printed("--help").partition("Commands:")[2].splitlines() if line.strip()],
    "listed": {row["plugin"]: row["adds"] for row in json.loads(printed("plugins", "list", "--json"))},
    "pages": {view.name: sorted(name for names in view.gives.values() for name in names)
              for view in PluginService(host).all()},
    "worker": attempt._installed_tasks().names(),
}))
"""

UNMET = """
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from packaging.requirements import Requirement
for need in map(Requirement, requires(sys.argv[1]) or []):
    if need.marker is None or need.marker.evaluate({"extra": ""}):
        try:
            met = need.specifier.contains(version(need.name), prereleases=True)
        except PackageNotFoundError:
            met = False
        if not met:
            print(need.name)
"""


@pytest.fixture(scope="module")
def clean(make_environment, wheels) -> Any:
    """The four packages from their wheels, and no plugin."""
    return make_environment(sources=[wheels[f"camelid-{name}"] for name in ("core", "train", "serve", "ui")])


@pytest.fixture(scope="module")
def bare(clean) -> dict[str, Any]:
    """What is there without any plugin."""
    found = snapshot(clean)
    assert found["problems"] == []
    return found


def snapshot(environment: Any) -> dict[str, Any]:
    return json.loads(environment.run("python", "-c", SNAPSHOT).stdout)


def project_of(directory: Path) -> dict[str, Any]:
    return tomllib.loads((directory / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def needed_plugins(name: str) -> list[str]:
    """The plugin and those of ours that it declares."""
    names = [Requirement(text).name for text in project_of(PLUGINS[name]).get("dependencies", [])]
    return [name, *(each for other in names if other in PLUGINS for each in needed_plugins(other))]


def installed_apart() -> set[str]:
    """Plugins whose requirements do not go with the rest, and are not in the environment of these tests."""
    line = re.search(r"^APART := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    return {f"camelid-{Path(each).name}" for each in line[1].split()} if line else set()


@pytest.fixture(params=PLUGINS)
def alone(request: pytest.FixtureRequest, clean, wheels) -> Iterator[str]:
    """A plugin with what it declares of ours, and no other."""
    names = needed_plugins(request.param)
    quiet = ("--quiet", "--disable-pip-version-check")
    clean.run("python", "-m", "pip", "install", *quiet, "--no-deps", "--no-index", *(wheels[name] for name in names))
    yield request.param
    clean.run("python", "-m", "pip", "uninstall", *quiet, "--yes", *names)


def test_it_adds_what_is_its_own_and_no_more(alone, clean, bare):
    """Nothing of the plugin before it is left, in listings, on pages or in workers, and nothing of others is lost."""
    found, names = snapshot(clean), set(needed_plugins(alone))
    assert found["problems"] == []
    added = {key: owner for key, owner in found["provided"].items() if key not in bare["provided"]}
    assert found["provided"] == bare["provided"] | added
    assert alone in added.values()
    assert set(added.values()) <= names
    commands = {key.split()[1] for key in added if key.startswith("camelid_commands ")}
    assert set(found["commands"]) == set(bare["commands"]) | commands
    tasks = {key.split()[1] for key in added if key.startswith("camelid_tasks ")}
    assert set(found["worker"]) == set(bare["worker"]) | tasks
    for place in ("listed", "pages"):
        assert {name: each for name, each in found[place].items() if name not in names} == bare[place]
        assert found[place].keys() - bare[place].keys() == names
    assert found["pages"][alone] == sorted(key.partition(" ")[2] for key, owner in added.items() if owner == alone)
    unmet = set(clean.run("python", "-c", UNMET, alone).stdout.split())
    assert not unmet or alone in installed_apart(), unmet
    for file in (PLUGINS[alone] / "tests" / name for name in OWN_TESTS):
        if file.is_file():
            chosen = ("-q", "-p", "pytest_timeout", "-m", "not slow and not model and not exhaustive")
            command = ("python", "-m", "pytest", *chosen, file, "--rootdir", PLUGINS[alone])
            done = clean.run(*command, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")  # of what is installed for other tests
            assert " passed" in done.stdout
            assert "skipped" not in done.stdout


def test_when_the_last_one_is_removed_all_is_as_it_was(clean, bare):
    assert snapshot(clean) == bare


@pytest.mark.parametrize("name", PLUGINS)
def test_its_wheel_holds_its_package_and_is_named_as_its_directory(wheels, name):
    package = name.replace("-", "_")
    files = ZipFile(wheels[name]).namelist()
    assert {file.split("/")[0] for file in files} == {
        package,
        f"{package}-{project_of(PLUGINS[name])['version']}.dist-info",
    }
    assert f"{package}/py.typed" in files
    assert project_of(PLUGINS[name])["entry-points"]["camelid"] == {name: package}
