"""Tiny random models as Transformers directories and as GGUF files of the same weights; a home directory per test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from camelid_core.plugins import load_host
from camelid_core.testing import suppress_end_of_sequence, tiny_model
from camelid_gguf.testing import write_gguf
from camelid_serve.config import EngineConfig
from camelid_serve.loaded_models import LoadedModel, load_model

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported: tiny models gain nothing from more

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAMELID_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tiny_model(tmp_path_factory.mktemp("models") / "tiny")
    (directory / "chat_template.jinja").write_text(CHATML, encoding="utf-8")
    return directory


@pytest.fixture(scope="session")
def file(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The same model as a GGUF file, alone in a directory."""

    @cache
    def make(kind: str = "f32") -> Path:
        return write_gguf(base, tmp_path_factory.mktemp(kind) / f"tiny-{kind}.gguf", kind)

    return make


@pytest.fixture(scope="session")
def tiny(file: Callable[[str], Path]) -> Iterator[LoadedModel]:
    """In float32 throughout, on four places."""
    loaded = load_model(str(file("f32")), load_host(), EngineConfig(dtype="float32", slots=4))
    yield loaded
    loaded.close()


@pytest.fixture(scope="session")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Goes on until it is told to end, however late that is: for what is done while an answer is under way."""
    directory = suppress_end_of_sequence(tiny_model(tmp_path_factory.mktemp("models") / "endless"))
    (directory / "chat_template.jinja").write_text(CHATML, encoding="utf-8")
    return write_gguf(directory, tmp_path_factory.mktemp("endless") / "endless.gguf", "f32")


@pytest.fixture(scope="session")
def talker(endless: Path) -> Iterator[LoadedModel]:
    loaded = load_model(str(endless), load_host(), EngineConfig(dtype="float32", slots=4))
    yield loaded
    loaded.close()


@pytest.fixture(scope="session")
def plain(base: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()


@pytest.fixture
def copied(file: Callable[[str], Path], tmp_path: Path) -> Path:
    """A file that may be damaged."""
    return Path(shutil.copy(file("f32"), tmp_path / "copy.gguf"))
