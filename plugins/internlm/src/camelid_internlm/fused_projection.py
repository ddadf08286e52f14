"""InternLM 2 and 2.5 as LLaMA: `wqkv` is one projection, its rows interleaved by groups of heads.

For each head of keys and values in turn: the rows of the query heads that share it, then its own rows for keys, then
those for values. Source: `modeling_internlm2.py` of internlm2-7b, the rearrangement `(h gs d)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from camelid_core.models.checkpoint_converters import ConversionProgress, Converted
from camelid_core.models.llama_target import (
    LayerNames,
    LlamaSizes,
    end_rules,
    kept_rules,
    layer_rules,
)
from camelid_core.models.resolved_model import read_object
from camelid_core.models.tensor_rules import TensorRule, renamed

from .llama_checkpoint import convert_by_rules

_NAMES = LayerNames(
    attention_norm="attention_norm",
    mlp_norm="ffn_norm",
    gate="feed_forward.w1",
    up="feed_forward.w3",
    down="feed_forward.w2",
    embeddings="model.tok_embeddings",
    head="output",
)
_BUFFERS = r".*\.(rotary_emb|rope)\.inv_freq"


def convert(source: Path, output: Path, progress: ConversionProgress) -> Converted:
    config = read_object(source / "config.json")
    biased = bool(config.get("bias"))
    rules = _rules(LlamaSizes.of(config), biased)
    return convert_by_rules(config, rules, source, output, progress, biased=biased, first=False, ignored=_BUFFERS)


def adapter_rules(config: Mapping[str, Any]) -> list[TensorRule]:
    """Rules of the layers that LoRA can be on, for a converted model's configuration."""
    return layer_rules(_rules(LlamaSizes.of(config), False))


def split(fused: Any, sizes: LlamaSizes) -> tuple[Any, Any, Any]:
    """Rows for queries, keys and values out of a fused weight or bias."""
    shared = sizes.heads // sizes.kv_heads
    grouped = fused.unflatten(0, (sizes.kv_heads, shared + 2, sizes.head))
    return grouped[:, :shared].flatten(0, 2), grouped[:, shared].flatten(0, 1), grouped[:, shared + 1].flatten(0, 1)


def _rules(sizes: LlamaSizes, biased: bool) -> Iterator[TensorRule]:
    embeddings, norm, head = end_rules(_NAMES, sizes)
    rows = (sizes.heads + 2 * sizes.kv_heads) * sizes.head
    queries = sizes.heads * sizes.head
    yield embeddings
    for number in range(sizes.layers):
        source, target = f"model.layers.{number}.attention", f"model.layers.{number}.self_attn"
        shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
            "weight": ((rows, sizes.hidden), (sizes.hidden, queries))
        }
        if biased:
            shapes["bias"] = ((rows,), (sizes.hidden,))
        for kind, (fused, out) in shapes.items():
            targets = tuple(f"{target}.{part}_proj.{kind}" for part in "qkv")
            yield TensorRule({f"{source}.wqkv.{kind}": fused}, targets, partial(split, sizes=sizes))
            yield renamed(f"{source}.wo.{kind}", f"{target}.o_proj.{kind}", *out)
        yield from kept_rules(_NAMES, sizes, number)
    yield norm
    yield head
