"""A tiny random MOSS in its original layout."""

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
VOCABULARY = json.loads((HERE / "vocab.json").read_text(encoding="utf-8"))
CONTROL = ("<eoc>", "<eoh>", "<eom>", "<eor>", "<eot>")
SPACES = ("   ", "    ")
ADDED = {text: len(VOCABULARY) + number for number, text in enumerate((*SPACES, *CONTROL))}
CONFIG = {
    "model_type": "moss", "architectures": ["MossForCausalLM"], "vocab_size": 640, "n_embd": 48, "n_layer": 2,
    "n_head": 4, "rotary_dim": 8, "n_positions": 1024, "n_ctx": 1024, "n_inner": None, "layer_norm_epsilon": 1e-5,
    "activation_function": "gelu_new", "bos_token_id": len(VOCABULARY) - 1, "eos_token_id": ADDED["<eom>"],
    "tie_word_embeddings": False, "wbits": 32,
}  # fmt: skip


def shapes() -> dict[str, tuple[int, ...]]:
    words, width = CONFIG["vocab_size"], CONFIG["n_embd"]
    found: dict[str, tuple[int, ...]] = {"transformer.wte.weight": (words, width)}
    for number in range(CONFIG["n_layer"]):
        layer = f"transformer.h.{number}"
        found |= {
            f"{layer}.ln_1.weight": (width,), f"{layer}.ln_1.bias": (width,),
            f"{layer}.attn.qkv_proj.weight": (3 * width, width), f"{layer}.attn.out_proj.weight": (width, width),
            f"{layer}.attn.causal_mask": (1, 1, 8, 8),
            f"{layer}.mlp.fc_in.weight": (4 * width, width), f"{layer}.mlp.fc_in.bias": (4 * width,),
            f"{layer}.mlp.fc_out.weight": (width, 4 * width), f"{layer}.mlp.fc_out.bias": (width,),
        }  # fmt: skip
    norm, head = "transformer.ln_f", "lm_head"
    return {
        **found, f"{norm}.weight": (width,), f"{norm}.bias": (width,), f"{head}.weight": (words, width),
        f"{head}.bias": (words,),
    }  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return isolated_home(tmp_path, monkeypatch)


@pytest.fixture
def attempt(home: Path):
    yield from attempts(home)


@pytest.fixture
def original(tmp_path: Path):
    """`original(sharp, **settings)`: the checkpoint's directory."""

    def make(sharp: bool = False, **settings) -> Path:
        tensors = random_tensors(shapes())
        tensors = sharpened(tensors, "transformer.ln_f.") if sharp else tensors
        files = {name: HERE / name for name in ("vocab.json", "merges.txt")}
        path = write_original(tmp_path / "original", {**CONFIG, **settings}, tensors, files)
        (path / "added_tokens.json").write_text(json.dumps(ADDED))
        (path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<eom>", "unk_token": "<|endoftext|>"}))
        return path

    return make
