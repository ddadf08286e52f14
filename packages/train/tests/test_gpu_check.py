"""The check for graphics cards runs whole on a processor, finds what differs, and says what it needs."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from camelid_train.methods.registry import methods
from camelid_train.methods.virtual_tokens import VirtualTokens

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "gpu_check.py"


@pytest.fixture(scope="module")
def gpu_check():
    spec = importlib.util.spec_from_file_location("gpu_check", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_check"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["gpu_check"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "qlora-nf4"])
def test_every_cell_is_sound_on_a_processor(gpu_check, base, home, tmp_path, method):
    cells = list(gpu_check.check("cpu", base(), [method], 3, tmp_path))
    assert [(cell.dtype, cell.packing) for cell in cells] == [
        ("float32", "off"), ("float32", "on"), ("bfloat16", "off"), ("bfloat16", "on"),
    ]  # fmt: skip
    assert all(cell.sound and len(cell.losses) == 3 and cell.tokens_per_second > 0 for cell in cells)
    assert gpu_check.table(cells).count("\n") == 4


def test_every_method_is_checked_but_the_one_that_needs_a_base_of_its_own(gpu_check):
    assert {each["type"] for each in gpu_check.METHODS.values()} == set(methods().names()) - {"lora-gptq"}
    assert set(gpu_check.PADDED_ONLY) == {method.name for method in methods() if isinstance(method, VirtualTokens)}


def test_a_difference_and_a_failure_are_found(gpu_check, tmp_path, monkeypatch):
    answers = iter([([2.0, 1.0], 9.0), ([2.0, 1.1], 9.0), ValueError("broken"), ([2.0, 1.01], 9.0)])

    def trained(*_):
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(gpu_check, "_train", trained)
    cells = list(gpu_check.check("cpu", tmp_path, ["lora"], 2, tmp_path))
    assert [cell.sound for cell in cells] == [True, False, False, True]
    assert "broken" in gpu_check.table(cells)
    assert not replace(cells[0], difference=float("inf")).sound


def test_without_a_card_it_says_what_it_needs(gpu_check, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu_check.py"])
    assert gpu_check.main() == 2
    assert "needs an NVIDIA graphics card" in capsys.readouterr().err
