"""Stored GPTQ models: what must be installed is said, and the kernel is one that can compute them."""

from __future__ import annotations

import dataclasses
import os

import pytest
import torch
from camelid_core.errors import MissingPackage
from camelid_core.models import gptq_kernels
from camelid_core.models.gptq_kernels import PLAIN_KERNEL, gptq_kernel, has_odd_groups
from camelid_core.models.loading import load_base
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_core.testing import tiny_model
from safetensors.torch import save_file


@pytest.fixture
def stored(tmp_path):
    """A GPTQ model, by its configuration and the columns of its matrices."""

    def make(group_size: int, columns: int):
        resolved = resolve_model(str(tiny_model(tmp_path / f"m{group_size}-{columns}")), load_host())
        tensors = {"model.layers.0.mlp.up_proj.g_idx": torch.zeros(columns, dtype=torch.int32)}
        save_file(tensors, resolved.base / "model.safetensors", {"format": "pt"})
        entry = {"quant_method": "gptq", "bits": 4, "group_size": group_size}
        return dataclasses.replace(resolved, config={**resolved.config, "quantization_config": entry})

    return make


def test_what_is_missing_is_named_before_anything_is_loaded(stored, monkeypatch):
    monkeypatch.setattr(gptq_kernels, "find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"needs gptqmodel and optimum; type `pip install camelid-gptq`"):
        load_base(stored(128, 128))


@pytest.mark.parametrize(
    ("group_size", "columns", "odd"), [(128, 576, True), (64, 576, False), (128, 64, True), (-1, 577, False)]
)
def test_groups_that_columns_do_not_fill_take_the_plain_kernel_on_a_processor(
    stored, monkeypatch, group_size, columns, odd
):
    monkeypatch.setattr(gptq_kernels, "find_spec", lambda name: object())
    monkeypatch.delenv("GPTQMODEL_CPU_WORKERS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    resolved = stored(group_size, columns)
    assert has_odd_groups(resolved) == odd
    assert gptq_kernel(resolved, "cpu") == (PLAIN_KERNEL if odd else "")
    assert gptq_kernel(resolved, "cuda") == ""
    assert os.environ["GPTQMODEL_CPU_WORKERS"] == "2"
    monkeypatch.delenv("GPTQMODEL_CPU_WORKERS")
