"""Baichuan-13B and Baichuan2-13B for Transformers: LLaMA with ALiBi in place of rotary positions.

What Baichuan's own class computes: to each attention score a head's slope times the distance from query to key is
added (Press et al. 2022, arXiv:2108.12409; `_gen_alibi_mask` of the published `modeling_baichuan.py`). All else is
LLaMA's, so it is inherited. Knows no files.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel
from transformers.masking_utils import create_causal_mask

from .family import MODEL_TYPE


class BaichuanAlibiConfig(LlamaConfig):
    model_type = MODEL_TYPE
    alibi: bool = True


def alibi_slopes(heads: int) -> list[float]:
    """The slope of each head: a geometric sequence, and for other numbers than powers of two every second one of the
    next longer sequence behind it."""
    power = 2 ** math.floor(math.log2(heads))
    start = 2 ** (-8 / power)
    slopes = [start ** (number + 1) for number in range(power)]
    return slopes if power == heads else slopes + alibi_slopes(2 * power)[0::2][: heads - power]


class NoRotation(torch.nn.Module):
    """In the place of rotary embeddings: an angle of zero at every position."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._width = width

    def forward(self, states: Any, position_ids: Any) -> tuple[Any, Any]:
        """Cosines and sines of shape (1, length, width of a head)."""
        shape = (1, position_ids.shape[-1], self._width)
        return states.new_ones(shape), states.new_zeros(shape)


class BaichuanAlibiModel(LlamaModel):
    config: BaichuanAlibiConfig
    config_class = BaichuanAlibiConfig
    _supports_flash_attn = False
    _supports_flex_attn = False

    def __init__(self, config: BaichuanAlibiConfig) -> None:
        super().__init__(config)
        self.rotary_emb = NoRotation(config.head_dim)

    def forward(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        past_key_values: Any = None,
        inputs_embeds: Any = None,
        use_cache: bool | None = None,
        **options: Any,
    ) -> Any:
        """As LLaMA's; `attention_mask` of shape (rows, length) tells padding, as there."""
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        options.pop("row_lengths", None)  # attention row by row would leave the mask out, and ALiBi with it
        biased = self._biased_mask(inputs_embeds, attention_mask, position_ids, past_key_values)
        return super().forward(
            attention_mask=biased,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **options,
        )

    def _biased_mask(self, embeddings: Any, padding: Any, position_ids: Any, cache: Any) -> Any:
        """What is added to the scores, of shape (rows, heads, queries, keys): ALiBi where a key is seen, else the least
        number."""
        queries = embeddings.shape[1]
        past = cache.get_seq_length() if cache is not None else 0
        keys = cache.get_mask_sizes(queries, 0)[0] if cache is not None else queries
        at_key, at_query = self._positions(embeddings, padding, int(past), queries, int(keys))
        seen = create_causal_mask(
            config=self.config,
            inputs_embeds=embeddings,
            attention_mask=padding,
            past_key_values=cache,
            position_ids=position_ids,
        )
        if seen is None:
            seen = (at_key[:, None, :] <= at_query[:, :, None])[:, None]
        elif seen.dtype != torch.bool:
            seen = seen >= 0
        slopes = torch.tensor(alibi_slopes(self.config.num_attention_heads), device=embeddings.device)
        distance = (at_key[:, None, :] - at_query[:, :, None])[:, None].float()
        bias = slopes[:, None, None] * distance
        return (
            bias.masked_fill(~seen, torch.finfo(torch.float32).min)
            .to(embeddings.dtype)
            .clamp(min=torch.finfo(embeddings.dtype).min)
        )

    @staticmethod
    def _positions(embeddings: Any, padding: Any, past: int, queries: int, keys: int) -> tuple[Any, Any]:
        """Positions of keys and queries, of shape (rows, keys) and (rows, queries); padding has none of its own."""
        at_key = torch.arange(keys, device=embeddings.device)[None]
        if padding is not None and padding.dim() == 2:
            counted = padding.long().cumsum(-1) - 1
            at_key = torch.nn.functional.pad(counted, (0, max(0, keys - counted.shape[1])))
        return at_key, at_key[:, past : past + queries]


class BaichuanAlibiForCausalLM(LlamaForCausalLM):
    config: BaichuanAlibiConfig
    config_class = BaichuanAlibiConfig
    _supports_flash_attn = False
    _supports_flex_attn = False

    def __init__(self, config: BaichuanAlibiConfig) -> None:
        super().__init__(config)
        self.model = BaichuanAlibiModel(config)
        self.post_init()
