"""docs/plugins.md is true: its commands are run in order and its files written where they say, in an environment that
sees this one's packages. And what it promises of hooks holds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import venv
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pluggy
import pytest
from camelid_core.hooks import API_VERSION, hookimpl, hookspec
from camelid_core.plugin_kit.plugin_kind import plugin_kinds
from camelid_core.plugins import Host, Plugin, load_host

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
PROGRAMS = {"pip": "pip", "pytest": "pytest", "camelid": "camelid_core.cli"}
"""Programs of the guide, and the module of each."""


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Runs a block of commands where what is installed is all here, and what it installs stays apart."""
    place = tmp_path_factory.mktemp("guide")
    environment = place / "venv"
    venv.create(environment, with_pip=False, symlinks=True)
    (site,) = environment.glob("lib/python3*/site-packages")
    here = [entry for entry in sys.path if entry.endswith("site-packages")]
    (site / "here.pth").write_text("".join(f"import site; site.addsitedir({entry!r})\n" for entry in here))
    for program, module in PROGRAMS.items():
        script = environment / "bin" / program
        script.write_text(f'#!/bin/sh\nexec {environment}/bin/python -m {module} "$@"\n')
        script.chmod(0o755)
    variables = os.environ | {
        "PATH": f"{environment}/bin:{os.environ['PATH']}", "CAMELID_HOME": str(place / "home"), "HF_HUB_OFFLINE": "1",
        "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }  # fmt: skip

    def run(commands: str) -> str:
        done = subprocess.run(
            ["sh", "-eu", "-c", commands], cwd=place, env=variables, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    run.place = place
    return run


@pytest.mark.install
def test_the_guide_is_true_from_its_first_command_to_its_last(shell):
    said = ""
    for language, text in BLOCKS:
        if language == "sh":
            said += shell(text)
        else:
            assert language == "python", "what is not run has no place in the guide"
            first, source = text.split("\n", 1)
            path = shell.place / first.removeprefix("# ")
            assert path.is_file(), f"{first}: the guide changes a file that `plugins new` has not written"
            path.write_text(source, encoding="utf-8")
    assert len(re.findall(r"\d+ passed", said)) == 2
    assert "Haiku:" in said
    assert "plugins are sound." in said
    assert shell("camelid templates list | grep '^haiku .*camelid-haiku'")


def test_the_guide_names_every_kind_with_its_rules():
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| `([\w.]+_contract)` \|$", GUIDE, re.MULTILINE))
    assert set(rows) == set(plugin_kinds().names())
    for contract in rows.values():
        module, _, function = contract.rpartition(".")
        assert callable(getattr(import_module(module), function))


HOOKS_OF = {
    1: {
        "camelid_commands", "camelid_compat_commands", "camelid_datasets", "camelid_engines", "camelid_executors",
        "camelid_exporters", "camelid_hookspecs", "camelid_model_adapters", "camelid_notes", "camelid_objectives",
        "camelid_plugin_kinds", "camelid_prompt_templates", "camelid_readers", "camelid_rewards", "camelid_tabs",
        "camelid_tasks", "camelid_trainer_callbacks", "camelid_tuning_methods",
    },
}  # fmt: skip
"""The hooks that a plugin of each API version may implement. None leaves without a new number."""


def test_no_hook_leaves_while_the_number_stays():
    assert HOOKS_OF[API_VERSION] <= set(load_host().hooks())


def test_a_deprecated_hook_still_works_and_warns():
    """What the guide says of `warn_on_impl`."""
    specifications, plugin = ModuleType("old_hooks"), ModuleType("camelid_late")

    def camelid_old() -> list[object]: ...

    specifications.camelid_old = hookspec(camelid_old, warn_on_impl=DeprecationWarning("use camelid_new"))
    plugin.camelid_old = hookimpl(lambda: [Plugin("x", "1", None)])
    plugin.camelid_old.__name__ = "camelid_old"
    host = Host()
    assert isinstance(host._manager, pluggy.PluginManager)
    host._manager.add_hookspecs(specifications)
    with pytest.warns(DeprecationWarning, match="use camelid_new"):
        host.load([Plugin("camelid-late", "1", plugin)])
    assert host.problems == []
    assert host.registry("camelid_old").names() == ["x"]


def test_every_plugin_of_this_repository_is_in_the_directory():
    entries = tomllib.loads((ROOT / "docs" / "plugins-directory.toml").read_text(encoding="utf-8"))
    ours = {}
    for path in [*ROOT.glob("plugins/*/pyproject.toml"), *ROOT.glob("examples/*/pyproject.toml")]:
        ours[tomllib.loads(path.read_text(encoding="utf-8"))["project"]["name"]] = str(path.parent.relative_to(ROOT))
    listed = {name: entry["where"] for name, entry in entries.items() if "://" not in entry["where"]}
    assert listed == ours


def test_the_directory_says_what_a_plugin_adds():
    """By the hooks that it implements."""
    entries = tomllib.loads((ROOT / "docs" / "plugins-directory.toml").read_text(encoding="utf-8"))
    hooks = {kind.name: kind.hook for kind in plugin_kinds()}
    for plugin in load_host().plugins:
        if plugin.name in entries:
            given = {hooks.get(kind, f"camelid_{kind}") for kind in entries[plugin.name]["kinds"]}
            assert given == set(load_host().provided_by(plugin.name)), plugin.name


def test_the_minimal_plugin_is_minimal():
    """A kind costs a file of a few lines, and the hook that returns it."""
    sources = sorted((ROOT / "examples" / "plugin-minimal" / "src" / "camelid_minimal").glob("*.py"))
    assert [path.stem for path in sources] == ["__init__", "adapter", "callback", "dataset", "template"]
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in sources) < 120
