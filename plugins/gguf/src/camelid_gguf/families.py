"""The families of models that llama.cpp computes and this plugin writes, as data.

What differs per family: llama.cpp's name of its architecture, which settings of a `config.json` it reads, which of them
it takes for granted, and what is done with tensors that lie otherwise there. Sources: github.com/ggml-org/llama.cpp,
`conversion/` and `src/models/`. Knows configurations of Transformers 5 by their keys. Reads no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .transforms import Transform, plus_one, qkv_by_kind, rotary_pairs

_SIZES = {
    "context_length": ("max_position_embeddings",),
    "embedding_length": ("hidden_size",),
    "block_count": ("num_hidden_layers",),
    "feed_forward_length": ("intermediate_size",),
    "attention.head_count": ("num_attention_heads",),
    "attention.head_count_kv": ("num_key_value_heads", "num_attention_heads"),
}
_RMS = {"attention.layer_norm_rms_epsilon": ("rms_norm_eps",)}
_NORM = {"attention.layer_norm_epsilon": ("layer_norm_eps", "layer_norm_epsilon")}
_HEAD = {"attention.key_length": ("head_dim",), "attention.value_length": ("head_dim",)}
_SILU = {"hidden_act": ("silu",)}
_GEMMA_GELU = {"hidden_activation": ("gelu_pytorch_tanh", None)}


@dataclass(frozen=True)
class Family:
    """`architecture` is llama.cpp's name. `settings` maps its keys to those of a configuration, of which the first that
    is there counts. `granted` are the values that llama.cpp takes for granted, by the configuration's key.
    `transforms` are of tensors by the end of their name in GGUF files. `rotary` says that positions are rotary, with
    `rotary_share` of a head turned where the configuration does not say. `head` says that a head of its own is needed
    even where it is tied to the embeddings. `unused` are ends of names of buffers that are no weights.
    `mixed_as_llama` says that llama.cpp chooses number formats by Llama's own rules.
    """

    architecture: str
    settings: Mapping[str, Sequence[str]]
    granted: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    transforms: Mapping[str, Transform] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    rotary: bool = True
    rotary_share: float = 1.0
    head: bool = False
    prefix: str = ""
    unused: Sequence[str] = ("rotary_emb.inv_freq",)
    mixed_as_llama: bool = False


_PAIRS: Mapping[str, Transform] = dict.fromkeys(
    ("attn_q.weight", "attn_k.weight", "attn_q.bias", "attn_k.bias"), rotary_pairs
)
_QKV: Mapping[str, Transform] = dict.fromkeys(("attn_qkv.weight", "attn_qkv.bias"), qkv_by_kind)
_GEMMA_NORMS: Mapping[str, Transform] = {"norm.weight": plus_one}

LLAMA = Family("llama", {**_SIZES, **_RMS, **_HEAD}, _SILU, _PAIRS, mixed_as_llama=True)

FAMILIES: Mapping[str, Family] = {
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen2": Family("qwen2", {**_SIZES, **_RMS}, {**_SILU, "use_sliding_window": (False, None)}),
    "qwen3": Family("qwen3", {**_SIZES, **_RMS, **_HEAD}, {**_SILU, "use_sliding_window": (False, None)}),
    "gemma": Family("gemma", {**_SIZES, **_RMS, **_HEAD}, {}, _GEMMA_NORMS),
    "gemma2": Family(
        "gemma2",
        {
            **_SIZES, **_RMS, **_HEAD,
            "attention.sliding_window": ("sliding_window",),
            "attn_logit_softcapping": ("attn_logit_softcapping",),
            "final_logit_softcapping": ("final_logit_softcapping",),
        },
        _GEMMA_GELU, _GEMMA_NORMS,
    ),
    "gemma3_text": Family(
        "gemma3",
        {
            **_SIZES, **_RMS, **_HEAD,
            "attention.sliding_window": ("sliding_window",),
        },
        {**_GEMMA_GELU, "attn_logit_softcapping": (None,), "final_logit_softcapping": (None,)}, _GEMMA_NORMS,
    ),
    "phi3": Family(
        "phi3", {**_SIZES, **_RMS, "rope.scaling.original_context_length": ("original_max_position_embeddings",)},
        _SILU, constants={"attention.sliding_window": 0},
    ),
    "gpt_neox": Family(
        "gptneox", {**_SIZES, **_NORM, "use_parallel_residual": ("use_parallel_residual",)},
        {"hidden_act": ("gelu",)}, _QKV, rotary_share=0.25, head=True,
        unused=("rotary_emb.inv_freq", "attention.bias", "attention.masked_bias"),
    ),
    "bloom": Family(
        "bloom",
        {
            "context_length": ("seq_length",), "embedding_length": ("hidden_size",), "block_count": ("n_layer",),
            "attention.head_count": ("n_head",), "attention.head_count_kv": ("n_head",), **_NORM,
        },
        {"apply_residual_connection_post_layernorm": (False,)}, _QKV,
        constants={"context_length": 2048}, rotary=False, prefix="transformer.",
    ),
    "glm": Family("chatglm", {**_SIZES, **_RMS, **_HEAD}, _SILU, rotary_share=0.5),
    "glm4": Family("glm4", {**_SIZES, **_RMS, **_HEAD}, _SILU, rotary_share=0.5),
}  # fmt: skip
"""By the `model_type` of Transformers."""
VERIFIED_BY = "plugins/gguf/tests/test_families.py::test_llamacpp_computes_the_same_logits"
"""The test of them all."""
