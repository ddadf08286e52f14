"""Baichuan's formula as `modeling_baichuan.py` publishes it, in plain functions over the original tensors.

Sources: github.com/baichuan-inc/Baichuan-7B, and the files beside the weights of Baichuan2-7B and Baichuan2-13B.
"""

import math

import torch


def rms_norm(x, weight, epsilon):
    return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon))


def rotate(x, base=10000.0):
    """Rotary positions, halves of a head paired. `x` is (rows, heads, length, width)."""
    length, width = x.shape[-2:]
    frequencies = 1.0 / base ** (torch.arange(0, width, 2).float() / width)
    angles = torch.arange(length).float()[:, None] * frequencies[None]
    angles = torch.cat((angles, angles), -1)
    first, second = x.chunk(2, -1)
    return x * angles.cos() + torch.cat((-second, first), -1) * angles.sin()


def slopes(heads):
    if math.log2(heads).is_integer():
        start = 2 ** (-(2 ** -(math.log2(heads) - 3)))
        return [start * start**number for number in range(heads)]
    below = 2 ** math.floor(math.log2(heads))
    return slopes(below) + slopes(2 * below)[0::2][: heads - below]


def alibi(heads, length):
    """Of shape (heads, length, length): nothing on the diagonal, less the further back, minus infinity ahead."""
    distance = torch.arange(length)[None, :] - torch.arange(length)[:, None]
    bias = torch.tensor(slopes(heads))[:, None, None] * distance
    return bias.masked_fill(distance[None] > 0, float("-inf"))


def logits(tensors, config, ids):
    heads, epsilon = config["num_attention_heads"], config["rms_norm_eps"]
    x = tensors["model.embed_tokens.weight"][ids]
    rows, length, hidden = x.shape
    rotary = "max_position_embeddings" in config
    causal = torch.full((length, length), float("-inf")).triu(1)[None]
    bias = causal if rotary else alibi(heads, length)
    for number in range(config["num_hidden_layers"]):
        t = {name.split(f"layers.{number}.", 1)[1]: v for name, v in tensors.items() if f"layers.{number}." in name}
        h = rms_norm(x, t["input_layernorm.weight"], epsilon)
        packed = h @ t["self_attn.W_pack.weight"].T
        q, k, v = (
            part.reshape(rows, length, heads, hidden // heads).transpose(1, 2)
            for part in packed.unflatten(-1, (3, hidden)).unbind(-2)
        )
        if rotary:
            q, k = rotate(q), rotate(k)
        scores = q @ k.transpose(2, 3) / math.sqrt(hidden // heads) + bias
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(rows, length, hidden)
        x = x + mixed @ t["self_attn.o_proj.weight"].T
        h = rms_norm(x, t["post_attention_layernorm.weight"], epsilon)
        gate, up = h @ t["mlp.gate_proj.weight"].T, h @ t["mlp.up_proj.weight"].T
        x = x + (torch.nn.functional.silu(gate) * up) @ t["mlp.down_proj.weight"].T
    head = tensors["lm_head.weight"]
    if "z_loss_weight" in config:
        head = head / head.norm(dim=-1, keepdim=True)
    return rms_norm(x, tensors["model.norm.weight"], epsilon) @ head.T
