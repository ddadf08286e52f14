"""Transposed weights and memory limits change no answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from camelid_core.testing import tiny_model
from camelid_serve.engines import memory_layout
from camelid_serve.engines.memory_layout import max_rows, with_transposed_weights
from camelid_serve.engines.transformers import TransformersEngine
from transformers import AutoConfig, AutoModelForCausalLM


@pytest.mark.parametrize("family", ["llama", "bloom"])
def test_transposed_weights_are_the_same_weights(tmp_path: Path, family: str) -> None:
    tiny_model(tmp_path, family)
    model, transposed = (AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval() for _ in range(2))
    with_transposed_weights(transposed)
    weights = dict(transposed.named_parameters())
    assert any(not weight.is_contiguous() for weight in weights.values())
    assert all(torch.equal(weight, weights[name]) for name, weight in model.named_parameters())
    assert transposed.get_input_embeddings().weight.is_contiguous(), "its rows are looked up one by one"
    ids = torch.arange(5, 30)[None]
    with torch.inference_mode():
        assert torch.allclose(model(ids).logits, transposed(ids).logits, atol=1e-5)


def test_no_more_rows_than_fit_into_memory(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = AutoModelForCausalLM.from_pretrained(base)
    config = model.config
    row = 2 * 1024 * 4 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    monkeypatch.setattr(memory_layout, "free_bytes", lambda device: 2 * 10 * row)
    assert max_rows(model) == 10
    engine = TransformersEngine(model, slots=100)
    assert engine._slots == 10
    engine.close()
    model.config = AutoConfig.for_model("mamba")
    assert max_rows(model) is None, "a model without heads is let through"
