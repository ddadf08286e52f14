"""Plugins as real distributions in a clean environment: found everywhere when sound, harmless when broken.

The environment is that of `conftest.py`: built and installed for real.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from camelid_core.artefacts import verify_directory
from camelid_core.testing import tiny_model

pytestmark = pytest.mark.install

PLUGIN = Path(__file__).parents[1] / "examples" / "plugin-minimal"


def test_what_is_installed_is_what_was_built(environment):
    where = environment.run("python", "-c", "import camelid_core, camelid_minimal; print(camelid_core.__file__)").stdout
    assert where.startswith(str(environment.path))
    complaints = environment.run("python", "-c", CHECK).stdout
    assert complaints == ""


CHECK = """
from importlib.metadata import requires, version
from packaging.requirements import Requirement
for name in ("camelid-core", "camelid-train", "camelid-serve", "camelid-ui", "camelid-minimal"):
    for need in map(Requirement, requires(name)):
        if need.marker is None or need.marker.evaluate({"extra": "torch"}):
            if not need.specifier.contains(version(need.name), prereleases=True):
                print(name, "needs", need, "and has", version(need.name))
"""


def test_the_plugin_is_found_and_sound(environment):
    rows = {row["plugin"]: row for row in environment.json("plugins", "list")}
    assert list(rows) == ["camelid-core", "camelid-train", "camelid-serve", "camelid-ui", "camelid-minimal"]
    row = rows["camelid-minimal"]
    assert (row["version"], row["source"]) == ("0.1.0", "installed")
    assert Path(row["location"]).is_relative_to(environment.path)
    assert row["adds"] == {
        "camelid_datasets": ["greetings"],
        "camelid_model_adapters": ["persimmon"],
        "camelid_prompt_templates": ["question-answer"],
        "camelid_trainer_callbacks": ["halfway"],
    }
    assert "All 5 plugins are sound." in environment.run("camelid", "plugins", "doctor").stdout


def test_its_family_template_and_dataset_are_listed(environment):
    assert "persimmon" in [family["family"] for family in environment.json("models", "list")["families"]]
    assert {"template": "question-answer", "plugin": "camelid-minimal"}.items() <= next(
        row for row in environment.json("templates", "list") if row["template"] == "question-answer"
    ).items()
    assert [row["rows"] for row in environment.json("datasets", "list") if row["dataset"] == "greetings"] == [40]


def test_a_training_run_uses_all_three(environment, tmp_path):
    model = tiny_model(tmp_path / "persimmon", "persimmon")
    assert environment.json("models", "show", model)["family"] == "persimmon"
    overrides = [f"model.name={model}", 'data.sources=["greetings"]', "train.max_steps=2"]
    done = environment.run("camelid", "train", *overrides, "--json", "--name", "greet")
    summary = json.loads(done.stdout.splitlines()[-1])
    artefact = Path(summary["artefact"])
    manifest = verify_directory(artefact).manifest
    assert manifest.template is not None
    assert (manifest.template.name, manifest.template.overrides) == ("question-answer", "")
    assert [(use.id, use.rows, use.licence) for use in manifest.datasets] == [("greetings", 40, "cc0-1.0")]
    assert manifest.plugins["camelid-minimal"] == "0.1.0"
    targets = json.loads((artefact / "adapter_config.json").read_text(encoding="utf-8"))["target_modules"]
    assert sorted(targets) == ["dense", "query_key_value"]
    assert summary["eval_loss"] > 0
    assert "Half of the 2 steps are done." in done.stderr


def test_its_own_tests_pass_where_it_is_installed(environment):
    done = environment.run(
        "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", PLUGIN / "tests", "--rootdir", PLUGIN
    )
    assert "6 passed" in done.stdout


HOOK = "from camelid_core import hookimpl\nfrom camelid_core.templates.role_template import RoleTemplate\n"
TEMPLATES = """
@hookimpl
def camelid_prompt_templates():
    return [RoleTemplate("{}", "", user="{{content}}", assistant=">")]
"""
RAISES = """
@hookimpl
def camelid_datasets():
    raise KeyError("z")
"""
BROKEN = {
    "camelid-absent": ("import no_such_module", "No module named 'no_such_module'"),
    "camelid-leaves": ("raise SystemExit(0)", "importing 'camelid_leaves' failed: SystemExit: 0"),
    "camelid-hangs": ("import time\ntime.sleep(600)", "took over 0.5 s and was given up"),
    "camelid-taken": (
        HOOK + TEMPLATES.format("alpaca"),
        "template 'alpaca' is given by camelid-core and by camelid-taken; rename one. camelid-core keeps it.",
    ),
    "camelid-typo": (
        HOOK + TEMPLATES.format("x").replace("templates()", "template()"),
        "hook 'camelid_prompt_template' does not exist. Did you mean 'camelid_prompt_templates'?",
    ),
    "camelid-old": ("CAMELID_API = 0", "it was built for plugin API 0; this Camelid has 1"),
    "camelid-signature": (
        HOOK + TEMPLATES.format("y").replace("templates()", "templates(registry)"),
        "a hook does not fit its specification",
    ),
    "camelid-raises": (HOOK + RAISES, "camelid_datasets failed: KeyError: 'z'"),
    "camelid-renamed": (
        HOOK + TEMPLATES.format("z"),
        "its entry point is called 'nickname'; it must be called 'camelid-renamed', like the distribution.",
    ),
}


HASTY = """
from camelid_core import cli
from camelid_core.plugin_host import discovery

load = discovery._import

def hasty(entry, owner, version):
    discovery.IMPORT_TIMEOUT_SECONDS = 0.5 if owner == "camelid-hangs" else 60.0
    return load(entry, owner, version)

discovery._import = hasty
cli.main()
"""


@pytest.fixture
def camelid_with(environment, tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`camelid` with broken distributions on its path, and half a second for the one that hangs."""
    for name, (source, _) in BROKEN.items():
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        entry = "nickname" if name == "camelid-renamed" else name
        (info / "entry_points.txt").write_text(f"[camelid]\n{entry} = {module}\n")

    def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        return environment.run("python", "-c", HASTY, *arguments, code=code, PYTHONPATH=str(tmp_path))

    return run


def test_the_doctor_names_every_broken_plugin_and_what_is_wrong(camelid_with):
    done = camelid_with("plugins", "doctor", "--json", code=1)
    found = {row["plugin"]: row["problem"] for row in json.loads(done.stdout)}
    assert found.keys() == BROKEN.keys()
    for name, (_, sentence) in BROKEN.items():
        assert sentence in found[name]
    table = camelid_with("plugins", "doctor", code=1).stdout
    assert all(name in table for name in BROKEN)


def test_broken_plugins_harm_nobody(camelid_with):
    templates = [row["template"] for row in json.loads(camelid_with("templates", "list", "--json").stdout)]
    assert {"alpaca", "chatml", "question-answer"} <= set(templates)
    assert not {"x", "y", "z"} & set(templates)
    datasets = json.loads(camelid_with("datasets", "list", "--json").stdout)
    assert {"cot-arithmetic", "greetings"} <= {row["dataset"] for row in datasets}
    assert "Usage" in camelid_with("--help").stdout
