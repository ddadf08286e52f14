"""A tiny model, a real server that has it, and engines on that server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import camelid_core.models.loading  # noqa: F401 - sets OMP_WAIT_POLICY before torch is imported
import httpx
import pytest
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_core.testing import suppress_end_of_sequence, tiny_model
from camelid_serve.config import EngineConfig
from camelid_serve.loaded_models import LoadedModel, load_model

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported: tiny models gain nothing from more


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAMELID_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Goes on until it is told to end, however late that is: for what is done while an answer is under way."""
    return suppress_end_of_sequence(tiny_model(tmp_path_factory.mktemp("models") / "endless"))


@pytest.fixture(scope="session")
def resolved(base: Path) -> Any:
    return resolve_model(str(base), load_host())


@pytest.fixture(scope="session")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=12, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    directory = tmp_path_factory.mktemp("models") / "mine"
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def tiny(base: Path) -> Iterator[LoadedModel]:
    """The same model in this process."""
    loaded = load_model(str(base), load_host(), EngineConfig(slots=4, dtype="float32"))
    yield loaded
    loaded.close()


@pytest.fixture(scope="session")
def served(base: Path, endless: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real `camelid serve` with both, without a key."""
    place = tmp_path_factory.mktemp("served")
    command = [
        sys.executable,
        "-m",
        "camelid_core.cli",
        "serve",
        f"tiny={base}",
        str(endless),
        "--port",
        "0",
        "--no-token",
        "--dtype",
        "float32",  # as `tiny`: a CPU with bfloat16 would serve that
    ]
    environment = os.environ | {"CAMELID_HOME": str(place), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        for line in program.stdout:
            if line.startswith("Ready"):
                break
        yield json.loads((place / "api.json").read_text(encoding="utf-8"))["url"]
        program.terminate()
        program.stdout.read()


@pytest.fixture
def until() -> Callable[..., None]:
    """Wait for something, for as long as a test may take."""
    import time

    def wait(holds: Callable[[], Any]) -> None:
        while not holds():
            time.sleep(0.05)

    return wait


@pytest.fixture
def metric(served: str) -> Callable[[str], float]:
    def read(name: str) -> float:
        lines = httpx.get(served.removesuffix("/v1") + "/metrics", timeout=240).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    return read
