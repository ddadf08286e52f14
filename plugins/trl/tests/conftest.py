"""Tiny random models, small preference data, and runs of the train task as a worker would make them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from camelid_core.events import read_events
from camelid_core.jobs.attempt import Context
from camelid_core.jobs.files import EVENTS, attempt_directory
from camelid_core.testing import tiny_model, write_jsonl
from camelid_train.config import Recipe

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported: tiny models gain nothing from more


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("CAMELID_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The directory of a tiny random model of a family; made once."""
    root = tmp_path_factory.mktemp("models")

    @cache
    def make(family: str = "llama") -> Path:
        return tiny_model(root / family, family)

    return make


@pytest.fixture(scope="session")
def choices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty-two pairs of different lengths: who counts is preferred."""
    rows = [
        {
            "prompt": f"Add {number} and {number}." + " Please." * (number % 3),
            "chosen": f"The answer is {number * 2}.",
            "rejected": "No." + " Go away." * (number % 2),
        }
        for number in range(32)
    ]
    return write_jsonl(tmp_path_factory.mktemp("data") / "choices.jsonl", rows)


class Attempt(Context):
    """The context of an attempt; it asks to stop once `stop_at` steps are done."""

    stop_at: tuple[int, Any] | None = None

    def emit(self, kind: str, **values: Any) -> None:
        super().emit(kind, **values)
        if self.stop_at and kind == "progress" and values["done"] >= self.stop_at[0]:
            self.ask(self.stop_at[1])

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in read_events(self.directory / EVENTS)[0] if event["kind"] == kind]

    def numbers(self, name: str) -> list[float]:
        return [event[name] for event in self.events("train")]

    @property
    def manifest(self) -> Any:
        return json.loads((self.output / "camelid.json").read_text(encoding="utf-8"))


@pytest.fixture
def attempt(home: Path) -> Iterator[Callable[..., Attempt]]:
    made: list[Attempt] = []

    def make(epoch: int = 1, job: int = 1) -> Attempt:
        directory = attempt_directory(home, job, epoch)
        directory.mkdir(parents=True)
        made.append(Attempt(directory))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def recipe(base: Callable[..., Path], choices: Path) -> Callable[..., Recipe]:
    """A small recipe on `choices`, with overrides."""

    def make(*overrides: str, family: str = "llama") -> Recipe:
        values = {
            "model": {"name": str(base(family)), "dtype": "float32"},
            "data": {"sources": [str(choices)], "eval_rows": 3, "template": "chatml"},
            "train": {"batch_size": 8, "epochs": 50, "max_steps": 8, "log_steps": 1, "learning_rate": 0.01},
        }
        return Recipe.model_validate(values).with_overrides(overrides)

    return make
