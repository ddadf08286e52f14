"""The trainer alone: a clean environment with core and train, and neither gradio nor fastapi in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from camelid_core.testing import tiny_model

pytestmark = [pytest.mark.install, pytest.mark.timeout(3600)]
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Path:
    """`pip install ./packages/core ./packages/train` into an empty virtual environment."""
    folder = tmp_path_factory.mktemp("headless") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    constraints = ["-c", str(ROOT / "constraints-cpu.txt")]
    subprocess.run([*install, *constraints, "./packages/core", "./packages/train"], cwd=ROOT, check=True)
    return folder / "bin"


def run(command: list[str], home: Path) -> str:
    environment = {**os.environ, "CAMELID_HOME": str(home)}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def trained(environment: Path, home: Path, *changes: str) -> None:
    """The quickstart recipe for two steps."""
    few = ["data.rows=16", "data.eval_rows=4", "eval.samples=0", "train.max_steps=2"]
    command = [str(environment / "camelid"), "train", "examples/quickstart/recipe.toml", *few, *changes, "--json"]
    result = json.loads(run(command, home).splitlines()[-1])
    assert result["steps"] == 2
    assert (Path(result["artefact"]) / "adapter_model.safetensors").is_file()


def test_it_trains_and_is_sound(environment, tmp_path):
    trained(environment, tmp_path / "home", f"model.name={tiny_model(tmp_path / 'tiny')}")
    assert run([str(environment / "camelid"), "plugins", "doctor"], tmp_path).startswith("All 2 plugins are sound")


@pytest.mark.exhaustive
def test_it_trains_the_quickstart_recipe(environment, tmp_path):
    run([str(environment / "camelid"), "models", "pull", "smollm2-135m"], tmp_path)
    trained(environment, tmp_path)


def test_it_brings_no_web_server(environment):
    code = "import importlib.util as u; print([n for n in ('gradio', 'fastapi', 'camelid_ui') if u.find_spec(n)])"
    assert run([str(environment / "python"), "-c", code], Path("/")).strip() == "[]"
