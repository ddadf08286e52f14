"""Tiny random checkpoints of every InternLM in its original layout."""

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
    "vocab_size": 704, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 6,
    "hidden_act": "silu", "rms_norm_eps": 1e-6, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
    "tie_word_embeddings": False, "max_position_embeddings": 512,
}  # fmt: skip
FIRST = {**SHARED, "model_type": "internlm", "architectures": ["InternLMForCausalLM"]}
SECOND = {
    **SHARED, "model_type": "internlm2", "architectures": ["InternLM2ForCausalLM"], "num_key_value_heads": 2,
    "bias": False, "rope_theta": 1000000,
}  # fmt: skip
THIRD = {
    **SECOND, "model_type": "internlm3", "architectures": ["InternLM3ForCausalLM"], "qkv_bias": False, "head_dim": 12,
}  # fmt: skip
CONFIGS = {
    "internlm-7b": {**FIRST, "bias": True},
    "internlm-20b": {
        **FIRST,
        "bias": False,
        "max_position_embeddings": 12,
        "rotary": {"base": 10000, "type": "dynamic"},
    },
    "internlm2": SECOND,
    "internlm2 longer": {**SECOND, "rope_scaling": {"type": "dynamic", "factor": 2.0}, "max_position_embeddings": 12},
    "internlm2 biased": {**SECOND, "bias": True, "rope_scaling": None},
    "internlm3": {**THIRD, "rope_scaling": {"rope_type": "dynamic", "factor": 6.0}, "max_position_embeddings": 12},
}


def shapes(config: dict) -> dict[str, tuple[int, ...]]:
    hidden, inner, words = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    heads, kind = config["num_attention_heads"], config["model_type"]
    groups, width = config.get("num_key_value_heads", heads), config.get("head_dim", hidden // heads)
    second = kind == "internlm2"
    if second:
        linears = {"attention.wqkv": ((heads + 2 * groups) * width, hidden), "attention.wo": (hidden, heads * width)}
    else:
        linears = {f"self_attn.{part}_proj": (groups * width, hidden) for part in "kv"}
        linears |= {"self_attn.q_proj": (heads * width, hidden), "self_attn.o_proj": (hidden, heads * width)}
    networks = ("feed_forward.w1", "feed_forward.w3", "feed_forward.w2") if second else (
        "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")  # fmt: skip
    norms = ("attention_norm", "ffn_norm") if second else ("input_layernorm", "post_attention_layernorm")
    found: dict[str, tuple[int, ...]] = {
        f"model.{'tok_embeddings' if second else 'embed_tokens'}.weight": (words, hidden)
    }
    for number in range(config["num_hidden_layers"]):
        layer = f"model.layers.{number}"
        for name, shape in linears.items():
            found[f"{layer}.{name}.weight"] = shape
            if config["bias"]:
                found[f"{layer}.{name}.bias"] = shape[:1]
        for name, shape in zip(networks, ((inner, hidden), (inner, hidden), (hidden, inner)), strict=True):
            found[f"{layer}.{name}.weight"] = shape
        found |= {f"{layer}.{name}.weight": (hidden,) for name in norms}
    head = "output" if second else "lm_head"
    return {**found, "model.norm.weight": (hidden,), f"{head}.weight": (words, hidden)}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return isolated_home(tmp_path, monkeypatch)


@pytest.fixture
def attempt(home: Path):
    yield from attempts(home)


@pytest.fixture
def original(tmp_path: Path):
    """`original(name, end)`: the checkpoint's directory; `end` is the id of the token that ends a chat model's answers.
    Generation 2 and later add two control tokens behind the pieces."""

    def make(name: str, end: int | None = None) -> Path:
        config = CONFIGS[name]
        path = tmp_path / f"original-{name.replace(' ', '-')}"
        tensors = random_tensors(shapes(config))
        tensors = sharpened(tensors, "model.norm.") if end else tensors
        write_original(path, config, tensors, {"tokenizer.model": HERE / "tokenizer.model"})
        settings: dict = {"add_bos_token": True, "add_eos_token": False}
        if config["model_type"] != "internlm":
            settings["added_tokens_decoder"] = {
                str(number): {"content": text, "special": True, "lstrip": False, "rstrip": False}
                for number, text in ((CHAT_2, "<|im_end|>"), (CHAT_2 + 1, "<|im_start|>"))
            }
        (path / "tokenizer_config.json").write_text(json.dumps(settings))
        ends = {"eos_token_id": [2, *([end] if end else [])], "pad_token_id": 2}
        (path / "generation_config.json").write_text(json.dumps(ends))
        return path

    return make


CHAT_1, CHAT_2 = 3, 700
"""Ids of `<eoa>` and `<|im_end|>` in the test's vocabularies."""
EOH = 4
