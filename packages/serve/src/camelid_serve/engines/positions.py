"""How far a model's positions reach, and rotary positions (RoPE) that do not depend on earlier requests.

Knows Transformers' rotary modules, position tables and configurations. Knows nothing of requests or texts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from camelid_core.models.rope import context_length

_SPARE = 8
"""Rows a table may have beyond the positions that the configuration names: OPT's has two."""


def longest_context(config: Any) -> int | None:
    """Context length: positions that a loaded model's configuration allows; None if it names no limit."""
    text = config.get_text_config()
    longest = getattr(text, "max_position_embeddings", None)  # whatever the family calls it in its file
    return context_length({**text.to_dict(), "max_position_embeddings": longest})


def table_length(model: Any) -> int | None:
    """Rows of the model's table of learned positions, beyond which it cannot compute; None if it has no table."""
    longest = longest_context(model.config)
    if longest is None:
        return None
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        about_positions = any("pos" in part or part == "wpe" for part in name.split("."))
        if about_positions and tensor.ndim == 2 and longest <= len(tensor) <= longest + _SPARE:
            return longest
    return None


def has_prefix_attention(model: Any) -> bool:
    """Whether tokens of a prompt attend to what is behind them, up to its end: then no part of a prompt can be computed
    before the rest is known, or serve another prompt."""
    return bool(getattr(model.config.get_text_config(), "prefix_attention", False))


def dynamic_positions(model: Any) -> list[Any]:
    """The model's rotary modules with dynamic (NTK) RoPE scaling: they change with the length of the sequence."""
    return [module for module in model.modules() if getattr(module, "rope_type", None) == "dynamic"]


def native_length(model: Any) -> int | None:
    """Tokens up to which positions are as trained, where those of a longer sequence depend on its length (dynamic and
    longrope scaling): its prefix then serves no other sequence, and it cannot share a batch. None if lengths never
    matter.
    """
    for module in model.modules():
        kind = getattr(module, "rope_type", None)
        if kind == "dynamic":
            return int(module.original_max_seq_len)
        if kind == "longrope":
            return int(module.config.rope_parameters["original_max_position_embeddings"])
    return None


def forget_lengths(modules: Iterable[Any]) -> None:
    """Reset dynamic rotary modules to the state of a fresh model.

    Transformers keeps the angles of the longest sequence so far until one comes that is shorter than the trained
    length: without this, an answer would depend on earlier requests.
    """
    for module in modules:
        if module.max_seq_len_cached != module.original_max_seq_len:
            module.register_buffer("inv_freq", module.original_inv_freq.to(module.inv_freq.device), persistent=False)
            module.max_seq_len_cached = module.original_max_seq_len
