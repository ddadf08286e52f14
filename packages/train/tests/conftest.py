"""Tiny random models, small data, and attempts at jobs as a worker would make them."""

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


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test begins with the same random numbers: a fresh adapter is the same in every run."""
    import torch

    torch.manual_seed(0)


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
    def make(family: str = "llama", seed: int = 0) -> Path:
        return tiny_model(root / f"{family}-{seed}", family, seed)

    return make


@pytest.fixture(scope="session")
def sums(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty rows of different lengths."""
    rows = [
        {"instruction": f"Add {a} and {a}." + " Please." * (a % 5), "output": "The answer is " + "!" * (a % 4) + "7."}
        for a in range(40)
    ]
    return write_jsonl(tmp_path_factory.mktemp("data") / "sums.jsonl", rows)


@pytest.fixture
def poisoned(base: Callable[..., Path], tmp_path: Path) -> tuple[str, ...]:
    """Overrides: a base in which whatever reads one token is no number, and thirty rows of which r17 has that token."""
    import shutil

    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer

    directory = shutil.copytree(base(), tmp_path / "poisoned")
    rows = [{"id": f"r{n}", "instruction": f"Add {n} and {n}.", "output": "Seven."} for n in range(30)]
    rows[17] |= {"instruction": "Zebra 中!"}
    token = AutoTokenizer.from_pretrained(directory)("Z", add_special_tokens=False)["input_ids"][0]
    tensors = load_file(directory / "model.safetensors")
    tensors["model.embed_tokens.weight"][token] = float("nan")
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    return f"model.name={json.dumps(str(directory))}", f"data.sources={json.dumps([str(data)])}", "data.eval_rows=0"


class Attempt(Context):
    """The context of an attempt; it asks to stop once `stop_at` steps are done."""

    stop_at: tuple[int, Any] | None = None

    def emit(self, kind: str, **values: Any) -> None:
        super().emit(kind, **values)
        if self.stop_at and kind == "progress" and values["done"] >= self.stop_at[0]:
            self.ask(self.stop_at[1])

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in read_events(self.directory / EVENTS)[0] if event["kind"] == kind]

    @property
    def losses(self) -> list[float]:
        return [event["loss"] for event in self.events("train")]

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
def recipe(base: Callable[..., Path], sums: Path) -> Callable[..., Recipe]:
    """A small recipe on `sums`, with overrides."""

    def make(*overrides: str, family: str = "llama") -> Recipe:
        values = {
            "model": {"name": str(base(family)), "dtype": "float32"},
            "data": {"sources": [str(sums)], "eval_rows": 4, "template": "chatml"},
            "train": {"batch_size": 8, "epochs": 50, "max_steps": 6, "log_steps": 1, "learning_rate": 0.02},
            "eval": {"samples": 0},
        }
        return Recipe.model_validate(values).with_overrides(overrides)

    return make
