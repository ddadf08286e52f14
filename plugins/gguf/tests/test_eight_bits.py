"""Q8_0: the file holds every weight to half a step, and what llama.cpp computes otherwise than its weights say is the
rounding of inputs to 8 bits, so that other greedy tokens are taken only where two are near."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from camelid_gguf.testing import round_inputs, write_gguf
from gguf import GGUFReader, quants
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

IDS = torch.randint(3, 400, (96,), generator=torch.Generator().manual_seed(2)).tolist()
HALF_A_STEP = 0.5 / 127
OF_THE_SCALE = 2**-11
"""Relative: a block's scale is rounded to float16, and with it the largest number of the block."""


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    return write_gguf(model("llama"), tmp_path_factory.mktemp("q8") / "model.gguf", "q8_0")


@pytest.fixture(scope="module")
def dequantised(model, file):
    """Transformers with the file's weights, as they are read back."""
    return AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).eval()


def test_every_weight_is_there_to_half_a_step_of_its_block(model, file):
    source = load_file(model("llama") / "model.safetensors")
    tensors = {each.name: each for each in GGUFReader(file).tensors}
    for name, stored in (
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("blk.0.ffn_up.weight", "model.layers.0.mlp.up_proj.weight"),
        ("blk.1.ffn_down.weight", "model.layers.1.mlp.down_proj.weight"),
    ):
        assert tensors[name].tensor_type.name == "Q8_0"
        values = quants.dequantize(np.array(tensors[name].data), tensors[name].tensor_type).reshape(-1, 32)
        plain = source[stored].numpy().reshape(-1, 32)
        allowed = (HALF_A_STEP + OF_THE_SCALE) * np.abs(plain).max(1, keepdims=True) * (1 + 1e-5)
        assert (np.abs(values - plain) <= allowed).all(), name


def test_what_llamacpp_computes_otherwise_is_the_rounding_of_inputs(file, dequantised, llamacpp_logits):
    """With inputs rounded in the same way torch computes what llama.cpp does, several times nearer than without (seen:
    5.7). And llama.cpp takes the token that the weights say wherever it is ahead by more than twice what this rounding
    changes, which is measured without llama.cpp."""
    there, given = llamacpp_logits(file, IDS), torch.tensor([IDS])
    with torch.inference_mode():
        of_weights = dequantised(given).logits[0]
        round_inputs(dequantised)
        rounded = dequantised(given).logits[0]
    left, whole = (float((there - each).abs().mean()) for each in (rounded, of_weights))
    assert 0 < left < whole / 3
    first, second = of_weights.topk(2).values.unbind(-1)
    clear = first - second > 2 * (rounded - of_weights).abs().max()
    assert clear.sum() > 10
    assert torch.equal(of_weights.argmax(-1)[clear], there.argmax(-1)[clear])
