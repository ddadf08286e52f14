"""ChatGLM2's and ChatGLM3's mathematics in plain torch, written from their published formulas alone.

Source: modeling_chatglm.py of THUDM/chatglm3-6b (`RotaryEmbedding`, `apply_rotary_pos_emb`, `SelfAttention`, `MLP`,
`GLMBlock`). Weights are a dictionary under the original names. One row at a time.
"""

from __future__ import annotations

import math

import torch
from torch.nn.functional import linear, silu


def rotary(states, positions, base):
    """`states`: (tokens, heads, a head); the first half of a head turns, in pairs of neighbours."""
    size = states.shape[-1] // 2
    theta = 1.0 / (base ** (torch.arange(0, size, 2).float() / size))
    angles = torch.outer(positions, theta)[:, None, :]
    turned, kept = states[..., :size], states[..., size:]
    pairs = turned.reshape(*turned.shape[:-1], size // 2, 2)
    first = pairs[..., 0] * angles.cos() - pairs[..., 1] * angles.sin()
    second = pairs[..., 1] * angles.cos() + pairs[..., 0] * angles.sin()
    return torch.cat([torch.stack([first, second], dim=-1).flatten(-2), kept], dim=-1)


def norm(x, weight, eps):
    return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps))


def logits_of(weights, ids, config):
    """Logits of one row of token ids, shape (tokens, vocabulary); `config` is the original's."""
    heads, groups, size = (config[key] for key in ("num_attention_heads", "multi_query_group_num", "kv_channels"))
    eps, ratio = config["layernorm_epsilon"], config.get("rope_ratio", 1)
    divides = config.get("divides_places", False)
    base, positions = (
        (10000, torch.arange(len(ids)) / ratio) if divides else (10000 * ratio, torch.arange(len(ids)).float())
    )
    x = weights["transformer.embedding.word_embeddings.weight"][ids]
    for number in range(config["num_layers"]):
        name = f"transformer.encoder.layers.{number}"
        given = norm(x, weights[f"{name}.input_layernorm.weight"], eps)
        fused = f"{name}.self_attention.query_key_value"
        mixed = linear(given, weights[f"{fused}.weight"], weights.get(f"{fused}.bias"))
        query, key, value = mixed.split([heads * size, groups * size, groups * size], dim=-1)
        query = rotary(query.view(len(ids), heads, size), positions, base)
        key = rotary(key.view(len(ids), groups, size), positions, base)
        key = key.repeat_interleave(heads // groups, dim=1)
        value = value.view(len(ids), groups, size).repeat_interleave(heads // groups, dim=1)
        scores = torch.einsum("qhd,khd->hqk", query, key) / math.sqrt(size)
        scores = scores.masked_fill(torch.ones(len(ids), len(ids)).triu(1).bool(), float("-inf"))
        context = torch.einsum("hqk,khd->qhd", scores.softmax(-1), value).reshape(len(ids), -1)
        x = x + linear(context, weights[f"{name}.self_attention.dense.weight"])
        given = norm(x, weights[f"{name}.post_attention_layernorm.weight"], eps)
        gate, up = linear(given, weights[f"{name}.mlp.dense_h_to_4h.weight"]).chunk(2, dim=-1)
        x = x + linear(silu(gate) * up, weights[f"{name}.mlp.dense_4h_to_h.weight"])
    x = norm(x, weights["transformer.encoder.final_layernorm.weight"], eps)
    return linear(x, weights["transformer.output_layer.weight"])
