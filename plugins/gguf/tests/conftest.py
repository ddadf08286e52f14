"""Tiny random models of every family that is written, and what llama.cpp computes with their files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from camelid_core.testing import isolated_home, tiny_tokenizer
from camelid_train.testing import Attempt, attempts

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported: tiny models gain nothing from more

_LAYERS = {
    "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 512,
    "intermediate_size": 128,
}  # fmt: skip
_SHARED = {**_LAYERS, "num_key_value_heads": 2}
_WIDE = {**_SHARED, "head_dim": 32}
_GEMMA = {**_WIDE, "query_pre_attn_scalar": 32, "sliding_window": 8}


def _rope(kind: str, **values: Any) -> dict[str, Any]:
    return {**_SHARED, "rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **values}}


MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", _SHARED),
    "mistral": ("mistral", {**_WIDE, "sliding_window": None}),
    "qwen2": ("qwen2", _SHARED),
    "qwen3": ("qwen3", _WIDE),
    "gemma": ("gemma", _WIDE),
    "gemma2": ("gemma2", _GEMMA),
    "gemma3": ("gemma3_text", {**_GEMMA, "num_hidden_layers": 7}),
    "phi3": ("phi3", _SHARED),
    "gpt_neox": ("gpt_neox", _LAYERS),
    "gpt_neox tied": ("gpt_neox", {**_LAYERS, "tie_word_embeddings": True, "use_parallel_residual": False}),
    "bloom": ("bloom", {"hidden_size": 64, "n_layer": 3, "n_head": 4}),
    "glm": ("glm", {**_SHARED, "head_dim": 16}),
    "glm4": ("glm4", {**_SHARED, "head_dim": 16}),
    "llama tied, biased": ("llama", {**_SHARED, "tie_word_embeddings": True, "attention_bias": True}),
    "llama3 rope": ("llama", _rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                   original_max_position_embeddings=64)),
    "linear rope": ("llama", _rope("linear", factor=4.0)),
    "yarn rope": ("llama", _rope("yarn", factor=4.0, original_max_position_embeddings=128)),
}  # fmt: skip
"""By what is special of them: the type, and the sizes."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return isolated_home(tmp_path, monkeypatch)


@pytest.fixture
def attempt(home: Path) -> Iterator[Callable[[], Attempt]]:
    """Every call gives an attempt at another job."""
    numbers = count(1)
    for make in attempts(home):
        yield partial(_next, make, numbers)


def _next(make: Callable[..., Attempt], numbers: Iterator[int]) -> Attempt:
    return make(job=next(numbers))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`model(name, **sizes)`: the directory of a tiny random model, made once. All its numbers are drawn, those of
    norms and biases too, and float16 holds them exactly."""
    root = tmp_path_factory.mktemp("models")

    @cache
    def make(name: str = "llama", **sizes: Any) -> Path:
        family, values = MODELS[name]
        directory = root / "-".join(["tiny", *name.replace(",", "").split(), *map(str, sizes.values())])
        return random_model(directory, family, {**values, **sizes})

    return make


def random_model(directory: Path, family: str, sizes: dict[str, Any], tokenizer: Any = None) -> Path:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = tokenizer or tiny_tokenizer()
    ids = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = AutoConfig.for_model(family, vocab_size=len(tokenizer), **ids, **sizes)
    torch.manual_seed(0)
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in plain.parameters():
            noise = (0.2 if parameter.ndim == 1 else 0.05) * torch.randn_like(parameter)
            parameter.copy_((parameter + noise).half().float())
    plain.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def transformers_logits() -> Callable[[Path, Sequence[int]], Any]:
    return _transformers_logits


def _transformers_logits(directory: Path, ids: Sequence[int]) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    with torch.inference_mode():
        return plain(torch.tensor([list(ids)])).logits[0]


@pytest.fixture(scope="session")
def llamacpp_logits() -> Callable[[Path, Sequence[int]], Any]:
    return _llamacpp_logits


def _llamacpp_logits(file: Path, ids: Sequence[int]) -> Any:
    from camelid_llamacpp.model import BatchToken, GgufModel

    loaded = GgufModel(file, 1, "float32")
    try:
        return loaded.decode([BatchToken(token, at, 0, True) for at, token in enumerate(ids)])
    finally:
        loaded.close()
