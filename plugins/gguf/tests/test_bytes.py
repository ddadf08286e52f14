"""The bytes of tensors are those of llama.cpp's own quantiser.

The hashes are of what `llama_model_quantize` (llama-cpp-python 0.3.36) wrote from the float16 file of the same model:
`benchmarks/gguf_bytes.py` makes them again. The model's numbers are counted, not drawn, so that they are the same
everywhere.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from camelid_gguf.mixtures import in_order
from camelid_gguf.testing import write_gguf
from gguf import GGUFReader
from safetensors.torch import load_file, save_file

from .conftest import random_model

SIZES = {
    "hidden_size": 256, "intermediate_size": 544, "num_hidden_layers": 8, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512,
}  # fmt: skip
"""Rows of `ffn_down` do not divide into blocks of 256."""
HASHES = {
    "q8_0": "e44ef168bcdd179277e64e580aa0cd6ae4a08c2b9eca9cdae07da312c97f89bb",
    "q4_0": "c13e08b8f3c38f6918755bff4bd80e0e4857f0b1d55fd1c0ebdbe231fe5a1891",
    "q4_k_m": "033462325fa44ee971a1af0d5fbb96b30f01d4a06b15997e6fd3485fe252bec9",
}


def counted_model(directory):
    """A model whose numbers are a fixed function of their places, exact in float16."""
    random_model(directory, "llama", SIZES)
    tensors = load_file(directory / "model.safetensors")
    for place, name in enumerate(sorted(tensors)):
        shape = (512, 256) if name.startswith(("lm_head", "model.embed")) else tensors[name].shape
        tensors[name] = _counted(place, int(np.prod(shape))).reshape(shape)
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})
    config = (directory / "config.json").read_text()
    rows = load_file(directory / "model.safetensors")["lm_head.weight"].shape[0]
    (directory / "config.json").write_text(_with_vocabulary(config, rows))
    return directory


def _with_vocabulary(config, rows):
    return json.dumps(json.loads(config) | {"vocab_size": rows})


def _counted(place, count):
    """Sums of three multiplicative hashes, between -0.15 and 0.15."""
    index = np.arange(count, dtype=np.uint64) + np.uint64(1_000_003 * place)
    parts = [(index * np.uint64(factor)) % np.uint64(2**32) for factor in (2_654_435_761, 2_246_822_519, 3_266_489_917)]
    values = sum(part.astype(np.float64) for part in parts) / 2**32 - 1.5
    return torch.from_numpy(values * 0.1).half()


def digest(file):
    """Over names, formats and bytes of all tensors."""
    found = {tensor.name: tensor for tensor in GGUFReader(file).tensors}
    whole = hashlib.sha256()
    for name in in_order(found):
        whole.update(f"{name} {found[name].tensor_type.name}\n".encode())
        whole.update(np.ascontiguousarray(found[name].data).tobytes())
    return whole.hexdigest()


@pytest.mark.parametrize("mixture", HASHES)
def test_tensors_are_those_of_llamacpps_own_quantiser(mixture, tmp_path):
    file = write_gguf(counted_model(tmp_path / "counted"), tmp_path / "it.gguf", mixture)
    assert digest(file) == HASHES[mixture]
