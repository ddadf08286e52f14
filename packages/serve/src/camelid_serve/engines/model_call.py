"""One forward pass of a model over rows that end in the same column, and the prefix of prompts that one pass computes
for all of them.

Knows the model's call, the attention mask and the KV cache. Knows nothing of requests, sampling or streams.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch

from .kv_cache import cache_from_prefixes, copy_row
from .prefix_cache import CachedPrefix, PrefixCache, common_prefix_length

PASS_TOKENS = 64
"""Tokens whose prefill costs more than one more forward pass."""

PrefixMatch = tuple[int, CachedPrefix | None]
"""How many of a prompt's first tokens the prefix cache has, and in which entry."""


class ModelCall:
    """A model's forward pass with a KV cache, whatever options its class takes."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.device = model.device
        accepted = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in accepted
        self._takes_logits_to_keep = "logits_to_keep" in accepted

    def logits(
        self,
        ids: Sequence[Sequence[int]],
        mask: torch.Tensor,
        cache: Any,
        positions: torch.Tensor | None = None,
        keep: int = 1,
    ) -> torch.Tensor:
        """Logits at the last `keep` columns of each row: [rows, keep, vocabulary]. `ids` are rows of equal length, and
        `mask` covers the columns of `cache` before them too. Positions are counted from the mask, unless given."""
        options: dict[str, Any] = {"logits_to_keep": keep} if self._takes_logits_to_keep else {}
        if self._takes_positions:
            counted = (mask.cumsum(-1) - 1).clamp(min=0)[:, -len(ids[0]) :] if positions is None else positions
            options["position_ids"] = counted
        output = self.model(
            input_ids=torch.tensor(ids, device=self.device),
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            **options,
        )
        return output.logits[:, -keep:]

    def right_aligned_mask(self, widths: Sequence[int]) -> torch.Tensor:
        """An attention mask: of each row the last `widths` columns count."""
        longest = max(widths)
        columns = torch.arange(longest, device=self.device)
        return (columns >= longest - torch.tensor(widths, device=self.device)[:, None]).long()

    def shared_prefix(
        self, prefix_cache: PrefixCache, adapter: str | None, prompts: Sequence[tuple[int, ...]]
    ) -> PrefixMatch:
        """The beginning that all prompts share, the last token of each left out: computed once, unless the prefix cache
        has it, or it would take longer than computing it with each."""
        length = min([common_prefix_length(prompts[0], prompt[:-1]) for prompt in prompts])
        known, cached = prefix_cache.longest_match(adapter, prompts[0][: length + 1])
        if (length - known) * (len(prompts) - 1) < PASS_TOKENS:
            return known, cached
        tokens = prompts[0][:length]
        cache = cache_from_prefixes(self.model.config, [cached.keys_values if cached else None], [known])
        self.logits([tokens[known:]], torch.ones((1, length), dtype=torch.long, device=self.device), cache)
        new = CachedPrefix(adapter, tokens, copy_row(cache, 0, torch.arange(length, device=self.device)))
        if prefix_cache.wants(adapter, tokens, new.bytes):
            prefix_cache.add(new)
        return length, new
