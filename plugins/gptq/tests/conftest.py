"""A tiny random model, whose matrices fill groups of 32 and 64 columns, data, and attempts as a worker makes them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from camelid_core.plugins import load_host
from camelid_core.testing import isolated_home, tiny_models, write_jsonl
from camelid_train.testing import Attempt, attempts

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models gain nothing from more


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return isolated_home(tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The directory of a tiny random model of a family; made once."""
    return tiny_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hundred conversations."""
    rows = [
        {"id": f"r{n}", "instruction": f"Add {n} and {n}.", "output": f"The answer is {2 * n}."} for n in range(200)
    ]
    return write_jsonl(tmp_path_factory.mktemp("data") / "talk.jsonl", rows)


@pytest.fixture
def attempt(home: Path) -> Iterator[Callable[..., Attempt]]:
    yield from attempts(home)


@pytest.fixture(scope="session")
def host() -> Any:
    return load_host()
