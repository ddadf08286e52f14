"""Tiny random checkpoints of every Baichuan in its original layout."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported: tiny models gain nothing from more

from camelid_core.converter_contract import random_tensors, sharpened, write_original
from camelid_core.testing import isolated_home
from camelid_train.testing import attempts

HERE = Path(__file__).parent
SHARED = {
    "model_type": "baichuan", "architectures": ["BaichuanForCausalLM"], "vocab_size": 700, "hidden_size": 48,
    "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 6, "hidden_act": "silu",
    "rms_norm_eps": 1e-6, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "tie_word_embeddings": False,
    "model_max_length": 512,
}  # fmt: skip
CONFIGS = {
    "baichuan-7b": {**SHARED, "architectures": ["BaiChuanForCausalLM"], "max_position_embeddings": 512},
    "baichuan2-7b": {**SHARED, "max_position_embeddings": 512, "z_loss_weight": 0},
    "baichuan-13b": SHARED,
    "baichuan2-13b": {**SHARED, "z_loss_weight": 0},
}


def shapes(config: dict) -> dict[str, tuple[int, ...]]:
    hidden, inner, words = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (words, hidden)}
    for number in range(config["num_hidden_layers"]):
        layer = f"model.layers.{number}"
        found |= {
            f"{layer}.self_attn.W_pack.weight": (3 * hidden, hidden),
            f"{layer}.self_attn.o_proj.weight": (hidden, hidden),
            f"{layer}.mlp.gate_proj.weight": (inner, hidden),
            f"{layer}.mlp.up_proj.weight": (inner, hidden),
            f"{layer}.mlp.down_proj.weight": (hidden, inner),
            f"{layer}.input_layernorm.weight": (hidden,),
            f"{layer}.post_attention_layernorm.weight": (hidden,),
        }
        if "max_position_embeddings" in config:
            found[f"{layer}.self_attn.rotary_emb.inv_freq"] = (hidden // config["num_attention_heads"] // 2,)
    return {**found, "model.norm.weight": (hidden,), "lm_head.weight": (words, hidden)}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return isolated_home(tmp_path, monkeypatch)


@pytest.fixture
def attempt(home: Path):
    yield from attempts(home)


@pytest.fixture
def original(tmp_path: Path):
    """`original(name, chat)`: the checkpoint's directory."""

    def make(name: str, chat: bool = False) -> Path:
        config = CONFIGS[name]
        files = {"tokenizer.model": HERE / "tokenizer.model"}
        tensors = random_tensors(shapes(config))
        tensors = sharpened(tensors, "model.norm.") if chat else tensors
        path = write_original(tmp_path / f"original-{name}", config, tensors, files)
        (path / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": False, "add_eos_token": False}))
        (path / "LICENSE").write_text("Baichuan's terms")
        if chat:
            tokens = {"user_token_id": USER, "assistant_token_id": USER + 1, "temperature": 0.3, "do_sample": True}
            (path / "generation_config.json").write_text(json.dumps(tokens))
        return path

    return make


USER = 9
"""The id of `<reserved_106>` in the test's vocabulary."""
