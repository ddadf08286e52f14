"""Tiny random models, made once per run; a home directory per test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import camelid_core.models.loading  # noqa: F401 - sets OMP_WAIT_POLICY before torch is imported
import pytest
from camelid_core.plugins import load_host
from camelid_core.testing import suppress_end_of_sequence, tiny_model
from camelid_serve.config import EngineConfig
from camelid_serve.loaded_models import LoadedModel, load_model


def pytest_configure(config: pytest.Config) -> None:
    # peft 0.21 still asks transformers 5.23 for a name that it deprecates
    config.addinivalue_line("filterwarnings", "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test begins with the same random numbers: a fresh adapter is the same in every run."""
    import torch

    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "home"
    monkeypatch.setenv("CAMELID_HOME", str(place))
    return place


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Goes on until it is told to end, however late that is: for what is done while an answer is under way."""
    return suppress_end_of_sequence(tiny_model(tmp_path_factory.mktemp("models") / "endless"))


@pytest.fixture(scope="session")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter that changes the answers: both of its matrices are random."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(base)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    directory = tmp_path_factory.mktemp("models") / "adapter"
    get_peft_model(model, config).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def tiny(base: Path) -> Iterator[LoadedModel]:
    loaded = load_model(str(base), load_host(), EngineConfig(slots=4, dtype="float32"))
    yield loaded
    loaded.close()


@pytest.fixture(scope="session")
def talker(endless: Path) -> Iterator[LoadedModel]:
    loaded = load_model(str(endless), load_host(), EngineConfig(slots=4, dtype="float32"))
    yield loaded
    loaded.close()


@pytest.fixture(scope="session")
def tuned(adapter: Path) -> Iterator[LoadedModel]:
    loaded = load_model(str(adapter), load_host(), EngineConfig(slots=4, dtype="float32"))
    yield loaded
    loaded.close()
