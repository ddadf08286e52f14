"""The original ChatGLM-6B's mathematics in plain torch, written from its published formulas alone.

Source: modeling_chatglm.py of THUDM/chatglm-6b v1.1.0 (`attention_fn`, `GLMBlock`, `get_masks`, `get_position_ids`).
Weights are a dictionary under the original names. One row at a time, without a cache.
"""

from __future__ import annotations

import math

import torch
from torch.nn.functional import layer_norm, linear

MASK, GMASK, SOP, EOP = 4, 5, 6, 7


def masks_and_positions(ids, mask_token=MASK, gmask_token=GMASK, sop=SOP):
    context = ids.index(sop)
    place = ids.index(gmask_token if gmask_token in ids else mask_token)
    hidden = torch.ones(len(ids), len(ids)).tril()
    hidden[:, :context] = 1
    positions = torch.arange(len(ids))
    positions[context:] = place
    blocks = torch.cat([torch.zeros(context, dtype=torch.long), torch.arange(len(ids) - context) + 1])
    return hidden < 0.5, positions, blocks


def rotary(states, positions):
    """`states`: (tokens, heads, half a head)."""
    size = states.shape[-1]
    frequencies = (1.0 / (10000 ** (torch.arange(0, size, 2).float() / size))).half().float()
    angles = torch.einsum("i,j->ij", positions.float(), frequencies)
    angles = torch.cat([angles, angles], dim=-1)[:, None, :]
    left, right = states[..., : size // 2], states[..., size // 2 :]
    return states * angles.cos() + torch.cat([-right, left], dim=-1) * angles.sin()


def gelu(x):
    return 0.5 * x * (1.0 + torch.tanh(0.7978845608028654 * x * (1.0 + 0.044715 * x * x)))


def logits_of(weights, ids, layers, heads, eps=1e-5, **tokens):
    """Logits of one row of token ids, shape (tokens, vocabulary)."""
    hidden_from, positions, blocks = masks_and_positions(ids, **tokens)
    x = weights["transformer.word_embeddings.weight"][ids]
    alpha = math.sqrt(2 * layers)

    def norm(x, name):
        return layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], eps)

    def dense(x, name):
        return linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    for number in range(layers):
        name = f"transformer.layers.{number}"
        given = norm(x, f"{name}.input_layernorm")
        mixed = dense(given, f"{name}.attention.query_key_value").view(len(ids), heads, -1)
        query, key, value = mixed.split(mixed.shape[-1] // 3, dim=-1)
        (q1, q2), (k1, k2) = query.chunk(2, dim=-1), key.chunk(2, dim=-1)
        query = torch.cat([rotary(q1, positions), rotary(q2, blocks)], dim=-1)
        key = torch.cat([rotary(k1, positions), rotary(k2, blocks)], dim=-1)
        coefficient = float(number + 1)
        query = query / (math.sqrt(query.shape[-1]) * coefficient)
        scores = torch.einsum("qhd,khd->hqk", query, key)
        scores = scores.masked_fill(hidden_from, -10000.0) * coefficient
        context = torch.einsum("hqk,khd->qhd", scores.softmax(-1), value).reshape(len(ids), -1)
        x = given * alpha + dense(context, f"{name}.attention.dense")
        given = norm(x, f"{name}.post_attention_layernorm")
        x = given * alpha + dense(gelu(dense(given, f"{name}.mlp.dense_h_to_4h")), f"{name}.mlp.dense_4h_to_h")
    return linear(norm(x, "transformer.final_layernorm"), weights["lm_head.weight"])
