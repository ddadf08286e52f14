"""Baichuan's checkpoints, converted: exact, whole or refused, tuned and merged, and asked in Chinese."""

from __future__ import annotations

import pytest
import torch
from camelid_core.converter_contract import assert_converter_contract
from camelid_core.plugins import load_host

from . import reference_baichuan
from .conftest import CONFIGS

IDS = torch.arange(3, 39).reshape(2, 18)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_converter_keeps_its_contract(home, tmp_path, original, name):
    assert_converter_contract(original(name), tmp_path / "out", load_host(), reference_baichuan.logits, IDS)
