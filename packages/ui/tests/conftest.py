"""Services in a home of their own, with a tiny model and no worker: what a test queues stays queued."""

from __future__ import annotations

import asyncio
from pathlib import Path

import gradio.queueing
import gradio.utils
import pytest
from camelid_core.testing import tiny_model, write_jsonl
from camelid_ui.services import Services
from camelid_ui.testing import open_services


@pytest.fixture(autouse=True)
def _no_loops_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradio opens an event loop for each lock it makes outside of one, and closes none."""
    monkeypatch.setattr(gradio.utils, "safe_get_lock", asyncio.Lock)
    monkeypatch.setattr(gradio.queueing, "safe_get_lock", asyncio.Lock)
    monkeypatch.setattr(gradio.utils, "safe_get_stop_event", asyncio.Event)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def home(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "home"
    (directory / "models").mkdir(parents=True)
    (directory / "models" / "tiny").symlink_to(tiny)
    monkeypatch.setenv("CAMELID_HOME", str(directory))
    return directory


@pytest.fixture
def services(home: Path) -> Services:
    return open_services(home)


@pytest.fixture
def adapter(home: Path, tiny: Path) -> str:
    """A trained-looking adapter artefact on the tiny model."""
    import json

    from camelid_core.artefacts import BaseModelEntry, Manifest, write_manifest

    directory = home / "artefacts" / "tuned"
    directory.mkdir(parents=True)
    (directory / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tiny)}))
    write_manifest(directory, Manifest(kind="adapter", base=BaseModelEntry(id="tiny", path=str(tiny))))
    return "tuned"


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    rows = [{"instruction": f"What is {n} + {n}?", "input": "", "output": str(2 * n)} for n in range(1, 6)]
    return write_jsonl(tmp_path / "questions.jsonl", rows)
