"""ChatGLM-6B (the first ChatGLM) for Transformers 5: the GLM block, prefix attention, 2-D rotary positions.

Knows tensors and Transformers' model classes. Knows nothing of files and tokenizers. Modules are called as in the
original code, so LoRA adapters made for that fit. Attention within a prompt is in both directions however the model is
called: it finds the prompt in the token ids, and refuses what has none.

Source of the formulas: modeling_chatglm.py in THUDM/chatglm-6b v1.1.0; the GLM block is of Du et al. 2022
(arXiv:2103.10360), and its scaled residuals of DeepNorm (arXiv:2203.00555).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from camelid_core.errors import ModelError
from torch import nn
from torch.nn.functional import gelu
from transformers import Cache, DynamicCache, GenerationMixin, PreTrainedModel
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import can_return_tuple
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration import ChatGlmConfig
from .prompt_end import RowLayout, answer_layout, row_layout

_ROTARY_BASE = 10000
Rotation = tuple[torch.Tensor, torch.Tensor]
"""Cosines and sines, of shape (rows, 1, tokens, 2, size of half a head)."""


def rotation(positions: torch.Tensor, head_dim: int, dtype: torch.dtype) -> Rotation:
    """Of `positions` with shape (rows, 2, tokens): the first number turns one half of a head, the second the other.

    The frequencies are float16 numbers, as they were in training; a place of up to 8,191 times one is exact in float32.
    """
    half = head_dim // 2
    exponents = torch.arange(0, half, 2, device=positions.device, dtype=torch.float32) / half
    frequencies = (1.0 / _ROTARY_BASE**exponents).half().float()
    angles = positions.transpose(1, 2)[:, None, :, :, None].float() * frequencies
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(states: torch.Tensor, turn: Rotation) -> torch.Tensor:
    """Turn queries or keys of shape (rows, heads, tokens, size of a head)."""
    cosines, sines = turn
    halves = states.unflatten(-1, (2, -1))
    first, second = halves.chunk(2, dim=-1)
    return (halves * cosines + torch.cat([-second, first], dim=-1) * sines).flatten(-2)


class ChatGlmAttention(nn.Module):
    """Queries, keys and values of one head lie together in `query_key_value`. (The original divides queries by the
    layer's number, and multiplies scores by it in float32: nothing but a guard against float16's range.)"""

    is_causal = True
    num_key_value_groups = 1

    def __init__(self, config: ChatGlmConfig, layer_idx: int) -> None:
        super().__init__()
        self.config, self.layer_idx = config, layer_idx
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden: torch.Tensor, turn: Rotation, mask: Any, past_key_values: Cache | None) -> torch.Tensor:
        mixed = self.query_key_value(hidden).unflatten(-1, (self.config.num_attention_heads, -1)).transpose(1, 2)
        query, key, value = mixed.chunk(3, dim=-1)
        query, key = rotate(query, turn), rotate(key, turn)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention)
        context, _ = attend(self, query, key, value, mask, dropout=0.0, scaling=self.config.head_dim**-0.5)
        return self.dense(context.flatten(-2))


def eager_attention(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, scaling: float, **_: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention written out; `mask` is added to the scores, and None lets all tokens attend to all."""
    scores = query @ key.transpose(2, 3) * scaling
    weights = (scores if mask is None else scores + mask).softmax(-1, dtype=torch.float32).to(query.dtype)
    return (weights @ value).transpose(1, 2), weights


class ChatGlmMlp(nn.Module):
    def __init__(self, config: ChatGlmConfig) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config.hidden_size, config.intermediate_size)
        self.dense_4h_to_h = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.dense_4h_to_h(gelu(self.dense_h_to_4h(hidden), approximate="tanh"))


class ChatGlmBlock(GradientCheckpointingLayer):
    """A residual is what came out of the layer norm, times the square root of twice the layers."""

    def __init__(self, config: ChatGlmConfig, layer_idx: int) -> None:
        super().__init__()
        self.alpha = math.sqrt(2 * config.num_hidden_layers)
        self.input_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = ChatGlmAttention(config, layer_idx)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = ChatGlmMlp(config)

    def forward(self, hidden: torch.Tensor, turn: Rotation, mask: Any, past_key_values: Cache | None) -> torch.Tensor:
        normal = self.input_layernorm(hidden)
        attended = self.attention(normal, turn, mask, past_key_values)
        normal = self.post_attention_layernorm(normal * self.alpha + attended)
        return normal * self.alpha + self.mlp(normal)


class ChatGlmPreTrainedModel(PreTrainedModel):
    config: ChatGlmConfig
    config_class = ChatGlmConfig
    base_model_prefix = "transformer"
    supports_gradient_checkpointing = True
    _no_split_modules = ["ChatGlmBlock"]
    _skip_keys_device_placement = ["past_key_values"]
    _supports_sdpa = True
    _supports_attention_backend = True
    _can_record_outputs = {"hidden_states": ChatGlmBlock}

    @property
    def dummy_inputs(self) -> dict[str, torch.Tensor]:
        """The shortest prompt there is, and two tokens of an answer."""
        ids = [self.config.gmask_token_id, self.config.bos_token_id, 0, 1]
        return {"input_ids": torch.tensor([ids], device=self.device)}


class ChatGlmModel(ChatGlmPreTrainedModel):
    """Token ids → hidden states."""

    def __init__(self, config: ChatGlmConfig) -> None:
        super().__init__(config)
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(ChatGlmBlock(config, index) for index in range(config.num_hidden_layers))
        self.final_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.word_embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.word_embeddings = value

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        **_: Any,
    ) -> BaseModelOutputWithPast:
        """`position_ids`, of shape (rows, tokens), count a row's tokens from 0, as for any model; GLM's two numbers are
        made of them here.

        Raises:
            ModelError: no token ids, a row without a prompt, or a mask of pairs of tokens, which would overrule the
                prompt's.
        """
        if input_ids is None:
            raise ModelError("ChatGLM-6B needs input_ids: embeddings alone do not say where a prompt ends.")
        if attention_mask is not None and attention_mask.ndim != 2:
            raise ModelError("ChatGLM-6B takes a mask of tokens (rows, tokens), and makes that of pairs itself.")
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        past = 0 if past_key_values is None else past_key_values.get_seq_length()
        hidden = self.word_embeddings(input_ids)
        places = _places(input_ids, attention_mask, past) if position_ids is None else position_ids
        layout = self._layout(input_ids, places.expand_as(input_ids), past)
        mask = create_causal_mask(
            self.config, hidden, attention_mask, past_key_values, block_sequence_ids=layout.blocks
        )
        turn = rotation(layout.positions, self.config.head_dim, hidden.dtype)
        for layer in self.layers:
            hidden = layer(hidden, turn=turn, mask=mask, past_key_values=past_key_values)
        return BaseModelOutputWithPast(last_hidden_state=self.final_layernorm(hidden), past_key_values=past_key_values)

    def _layout(self, input_ids: torch.Tensor, places: torch.Tensor, past: int) -> RowLayout:
        """With a KV cache, what comes without a prompt of its own continues answers (learned keys and values of a
        tuning method stand before a prompt)."""
        if past and (input_ids.shape[1] == 1 or not torch.any(input_ids == self.config.bos_token_id)):
            return answer_layout(places)
        return row_layout(input_ids, places, self.config)


def _places(input_ids: torch.Tensor, attention_mask: torch.Tensor | None, past: int) -> torch.Tensor:
    """Each token's number in its row, padding not counted."""
    if attention_mask is not None:
        return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -input_ids.shape[1] :]
    return torch.arange(past, past + input_ids.shape[1], device=input_ids.device)[None]


class ChatGlmForCausalLM(ChatGlmPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "transformer.word_embeddings.weight"}

    def __init__(self, config: ChatGlmConfig) -> None:
        super().__init__(config)
        self.transformer = ChatGlmModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def check_prompt(self, ids: Sequence[int]) -> None:
        """Raises ModelError: these tokens are no prompt that it can read."""
        row = torch.tensor([list(ids)])
        row_layout(row, torch.arange(len(ids))[None], self.config)

    def get_output_embeddings(self) -> nn.Linear:
        return self.lm_head

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        self.lm_head = new_embeddings

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        num_items_in_batch: Any = None,
        **options: Any,
    ) -> CausalLMOutputWithPast:
        """As `ChatGlmModel`, with the logits of the last `logits_to_keep` tokens (0: of all), and with `labels` the
        mean cross-entropy of the next tokens."""
        output = self.transformer(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **options,
        )
        kept = slice(-logits_to_keep or None, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(output.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, self.config.vocab_size, num_items_in_batch=num_items_in_batch)
        return CausalLMOutputWithPast(
            loss=loss, logits=logits, past_key_values=output.past_key_values, hidden_states=output.hidden_states
        )
