"""The Space's bundle: built by its script, started where nothing of ours is installed, closed to whoever would act."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

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


def fetch(url: str, body: Any = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data, {"content-type": "application/json"}), timeout=20) as response:
        return bytes(response.read())


def part(config: dict[str, Any], ident: str) -> dict[str, Any]:
    return next(each for each in config["components"] if each["props"].get("elem_id") == ident)


def press(space: str, ident: str, **fields: Any) -> str:
    """What the page is told after the button's own handler ran, with every other field as the page has it at first."""
    config = json.loads(fetch(f"{space}/config"))
    values = {each["id"]: each["props"].get("value") for each in config["components"]}
    values |= {each["id"]: values[each["id"]] or "" for each in config["components"] if each["type"] == "textbox"}
    values |= {part(config, name.replace("_", "-"))["id"]: value for name, value in fields.items()}
    button = part(config, ident)["id"]
    handler = next(each for each in config["dependencies"] if [button, "click"] in each["targets"])
    joined = {
        "fn_index": handler["id"], "session_hash": "page", "trigger_id": button,
        "data": [values[each] for each in handler["inputs"]],
    }  # fmt: skip
    fetch(f"{space}{config['api_prefix']}/queue/join", joined)
    return fetch(f"{space}{config['api_prefix']}/queue/data?session_hash=page").decode()


@pytest.mark.install
@pytest.mark.timeout(180)
def test_the_page_is_there_and_says_what_it_is(space):
    assert b"<gradio-app" in fetch(space)
    config = json.loads(fetch(f"{space}/config"))
    assert config["title"] == "Camelid"
    assert part(config, "train-start")["props"]["interactive"] is False
    assert part(config, "chat-load")["props"]["interactive"] is not False
    assert [each["props"]["id"] for each in config["components"] if each["type"] == "tabitem"][:3] == [
        "data", "train", "chat",
    ]  # fmt: skip


@pytest.mark.install
@pytest.mark.timeout(180)
def test_who_goes_round_the_page_is_refused(space):
    said = press(space, "train-start")
    assert "process_completed" in said
    assert "nothing on their machine can be changed" in said


@pytest.mark.install
@pytest.mark.timeout(180)
def test_the_model_answers(space):
    """Loaded in a process of its own, which finds the plugins too."""
    deadline = time.monotonic() + 60
    while "smollm2-135m is ready" not in (said := press(space, "chat-load", chat_model="smollm2-135m")):
        assert time.monotonic() < deadline, said
        time.sleep(1)
    said = press(space, "chat-send", chat_ask="Hello?")
    assert "tokens/s" in said
    assert "process_completed" in said


@pytest.mark.install
@pytest.mark.timeout(180)
def test_no_other_model_and_no_path_is_loaded(space):
    assert "is not one of this demo" in press(space, "chat-load", chat_model="/etc")
