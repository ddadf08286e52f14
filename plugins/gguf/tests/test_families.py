"""Every family that is written: llama.cpp computes with the file what Transformers computes with the model."""

from __future__ import annotations

import pytest
import torch
from camelid_core.errors import ModelError
from camelid_gguf.families import FAMILIES
from camelid_gguf.metadata import family_of, notes
from camelid_gguf.testing import write_gguf
from camelid_llamacpp import model as engine

from .conftest import MODELS, random_model

IDS = torch.randint(3, 400, (40,), generator=torch.Generator().manual_seed(1)).tolist()


def test_every_family_is_tried():
    assert {family for family, _ in MODELS.values()} == set(FAMILIES)


@pytest.mark.parametrize("name", MODELS)
def test_llamacpp_computes_the_same_logits(name, model, tmp_path, transformers_logits, llamacpp_logits):
    """In float16, of weights that float16 holds; longer than the local attention of those that have it."""
    file = write_gguf(model(name), tmp_path / "model.gguf", "f16")
    expected = transformers_logits(model(name), IDS)
    assert float(expected.std()) > 0.1
    assert float((llamacpp_logits(file, IDS) - expected).abs().max()) < 1e-2


@pytest.mark.parametrize("original", [1024, 16])
def test_phi_3_turns_by_the_factors_of_its_context(
    original, tmp_path, monkeypatch, transformers_logits, llamacpp_logits
):
    """llama.cpp takes the long factors where its context is longer than the original one; here it has 512 tokens."""
    monkeypatch.setattr(engine, "_MEMORY_FRACTION", 0.0)
    rope = {
        "rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": original,
        "factor": 4096 / original,
        "short_factor": [1 + 0.1 * n for n in range(8)], "long_factor": [1.0 + n for n in range(8)],
    }  # fmt: skip
    sizes = {**MODELS["phi3"][1], "max_position_embeddings": 4096, "original_max_position_embeddings": original}
    directory = random_model(tmp_path / "phi", "phi3", {**sizes, "rope_parameters": rope})
    file = write_gguf(directory, tmp_path / "model.gguf", "f16")
    assert float((llamacpp_logits(file, IDS) - transformers_logits(directory, IDS)).abs().max()) < 1e-2


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model_type": "mamba"}, r"type 'mamba' cannot be written; those that can are llama, "),
        ({"model_type": "llama", "hidden_act": "gelu"}, r"hidden_act='gelu', and llama.cpp computes .* with 'silu'"),
        ({"model_type": "qwen2", "hidden_act": "silu", "use_sliding_window": True}, "use_sliding_window=True"),
        (
            {"model_type": "gemma2", "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 100,
             "num_hidden_layers": 2, "head_dim": 32},
            "query_pre_attn_scalar=100",
        ),
        ({"model_type": "llama", "hidden_act": "silu", "num_experts": 8}, "experts"),
    ],
)  # fmt: skip
def test_what_llamacpp_would_compute_otherwise_is_refused(values, words):
    with pytest.raises(ModelError, match=words):
        family_of(values)


def test_a_window_that_llamacpp_does_not_compute_is_said():
    config = {"model_type": "mistral", "sliding_window": 4096, "max_position_embeddings": 32768}
    assert "the last 4,096 tokens" in next(notes(config, FAMILIES["mistral"]))
    assert list(notes(config | {"max_position_embeddings": 4096}, FAMILIES["mistral"])) == []
    assert list(notes(config, FAMILIES["gemma2"])) == []
