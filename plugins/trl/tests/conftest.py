"""Tiny random models, small preference data, and runs of the train task as a worker would make them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from camelid_core.testing import isolated_home, tiny_models, write_jsonl
from camelid_train.config import Recipe
from camelid_train.testing import Attempt, attempts, small_recipe

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported: tiny models gain nothing from more


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return isolated_home(tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The directory of a tiny random model of a family; made once."""
    return tiny_models(tmp_path_factory.mktemp("models"))


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


OWN = ("data.eval_rows=3", "train.max_steps=8", "train.learning_rate=0.01")


@pytest.fixture
def attempt(home: Path) -> Iterator[Callable[..., Attempt]]:
    yield from attempts(home)


@pytest.fixture
def recipe(base: Callable[..., Path], choices: Path) -> Callable[..., Recipe]:
    """A small recipe on `choices`, with overrides."""

    def make(*overrides: str, family: str = "llama") -> Recipe:
        return small_recipe(base(family), choices, (*OWN, *overrides))

    return make
