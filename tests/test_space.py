"""The Space's bundle as its script builds it. How it runs is told by `browser/test_space.py`."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("bundle") / "out"
    subprocess.run([sys.executable, ROOT / "space" / "build.py", out], check=True)
    return out


def test_the_front_matter_says_what_a_space_must_be_told(bundle):
    front = yaml.safe_load((bundle / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert front["sdk"] == "gradio"
    assert f"gradio=={front['sdk_version']}" in (ROOT / "constraints-cpu.txt").read_text(encoding="utf-8")
    assert front["python_version"] == "3.12"
    assert (bundle / front["app_file"]).is_file()
    assert len(front["short_description"]) <= 60


def test_requirements_are_pinned_and_none_is_a_path(bundle):
    first, *lines = (bundle / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert first.startswith("--extra-index-url https://download.pytorch.org/")
    pinned = [Requirement(line) for line in lines]
    assert all(len(each.specifier) == 1 and each.url is None for each in pinned)
    assert {"torch", "transformers", "peft", "pydantic"} <= {each.name for each in pinned}
    assert not [each.name for each in pinned if each.name.startswith("camelid") or each.name == "gradio"]


def test_every_package_and_its_data_is_in_it(bundle):
    named = {each["module"].split(".")[0] for each in json.loads((bundle / "plugins.json").read_text())}
    assert named == {path.name for path in (bundle / "packages").iterdir()}
    assert (bundle / "packages" / "camelid_ui" / "locales" / "zh.toml").is_file()
    assert list(bundle.rglob("__pycache__")) == []
    project = tomllib.loads((ROOT / "packages" / "ui" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"name": "camelid-ui", "version": project["version"], "module": "camelid_ui.plugin"} in json.loads(
        (bundle / "plugins.json").read_text()
    )


def test_a_directory_that_holds_something_is_left_alone(bundle):
    done = subprocess.run([sys.executable, ROOT / "space" / "build.py", bundle], capture_output=True, text=True)
    assert done.returncode == 1
    assert "is not empty" in done.stderr
