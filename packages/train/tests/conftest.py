"""Tiny random models, small data, and attempts at jobs as a worker would make them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from camelid_core.plugins import load_host
from camelid_core.testing import isolated_home, tiny_models, write_jsonl
from camelid_train.config import Recipe
from camelid_train.testing import Attempt, attempts, small_recipe

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported: tiny models gain nothing from more


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test begins with the same random numbers: a fresh adapter is the same in every run."""
    import torch

    torch.manual_seed(0)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return isolated_home(tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The directory of a tiny random model of a family; made once."""
    return tiny_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def named_base(base: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """As `base`, with `chatglm` too, whose classes are a plugin's."""
    from camelid_chatglm.testing import tiny_chatglm

    chatglm = tiny_chatglm(tmp_path_factory.mktemp("chatglm") / "model")
    return lambda family: chatglm if family == "chatglm" else base(family)


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


@pytest.fixture
def attempt(home: Path) -> Iterator[Callable[..., Attempt]]:
    yield from attempts(home)


@pytest.fixture
def stepgate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in processes that are started from here have the plugin of that name; this process does not."""
    load_host()  # once for all tests of the process
    path = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    monkeypatch.setenv("CAMELID_PLUGINS", "stepgate==1=stepgate")


@pytest.fixture
def recipe(base: Callable[..., Path], sums: Path) -> Callable[..., Recipe]:
    """A small recipe on `sums`, with overrides."""

    def make(*overrides: str, family: str = "llama") -> Recipe:
        return small_recipe(base(family), sums, ("eval.samples=0", *overrides))

    return make
