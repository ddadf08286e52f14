"""InternLM's formulas as their modelling files publish them, in plain functions over the original tensors.

Sources: `modeling_internlm.py`, `modeling_internlm2.py` and `modeling_internlm3.py`, published beside the weights.
"""

import math

import torch

NAMES = {
    "internlm": ("model.embed_tokens", "input_layernorm", "post_attention_layernorm", "self_attn.o_proj", "lm_head",
                 "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
    "internlm2": ("model.tok_embeddings", "attention_norm", "ffn_norm", "attention.wo", "output",
                  "feed_forward.w1", "feed_forward.w3", "feed_forward.w2"),
}  # fmt: skip


def rms_norm(x, weight, epsilon):
    return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon))


def rotary_base(config, length, width):
    """What the configuration says; raised for a text that is longer than the model's context (dynamic NTK)."""
    rotary, scaling = config.get("rotary") or {}, config.get("rope_scaling") or {}
    base = float(config.get("rope_theta") or rotary.get("base") or 10000)
    kind = scaling.get("type") or scaling.get("rope_type") or rotary.get("type")
    longest = config["max_position_embeddings"]
    if kind == "dynamic" and length > longest:
        factor = scaling.get("factor") or rotary.get("scaling_factor") or 1.0
        base *= (factor * length / longest - (factor - 1)) ** (width / (width - 2))
    return base


def rotate(x, base):
    length, width = x.shape[-2:]
    angles = torch.arange(length).float()[:, None] / base ** (torch.arange(0, width, 2).float() / width)[None]
    angles = torch.cat((angles, angles), -1)
    first, second = x.chunk(2, -1)
    return x * angles.cos() + torch.cat((-second, first), -1) * angles.sin()


def linear(x, t, name):
    return torch.nn.functional.linear(x, t[f"{name}.weight"], t.get(f"{name}.bias"))


def projections(h, t, config, heads, groups, width):
    """Queries, keys and values, of shape (rows, length, heads, width)."""
    if config["model_type"] == "internlm2":
        fused = linear(h, t, "attention.wqkv").unflatten(-1, (groups, heads // groups + 2, width))
        return fused[..., :-2, :].flatten(2, 3), fused[..., -2, :], fused[..., -1, :]
    return tuple(linear(h, t, f"self_attn.{part}_proj").unflatten(-1, (-1, width)) for part in "qkv")


def logits(tensors, config, ids):
    embed, norm_1, norm_2, out, head, gate, up, down = NAMES.get(config["model_type"], NAMES["internlm"])
    heads, epsilon = config["num_attention_heads"], config["rms_norm_eps"]
    groups = config.get("num_key_value_heads") or heads
    width = config.get("head_dim") or config["hidden_size"] // heads
    x = tensors[f"{embed}.weight"][ids]
    length = x.shape[1]
    base = rotary_base(config, length, width)
    causal = torch.full((length, length), float("-inf")).triu(1)
    for number in range(config["num_hidden_layers"]):
        t = {name.split(f"layers.{number}.", 1)[1]: v for name, v in tensors.items() if f"layers.{number}." in name}
        h = rms_norm(x, t[f"{norm_1}.weight"], epsilon)
        q, k, v = (part.transpose(1, 2) for part in projections(h, t, config, heads, groups, width))
        q, k = rotate(q, base), rotate(k, base)
        k, v = (part.repeat_interleave(heads // groups, 1) for part in (k, v))
        scores = q @ k.transpose(2, 3) / math.sqrt(width) + causal
        x = x + linear((scores.softmax(-1) @ v).transpose(1, 2).flatten(2), t, out)
        h = rms_norm(x, t[f"{norm_2}.weight"], epsilon)
        x = x + linear(torch.nn.functional.silu(linear(h, t, gate)) * linear(h, t, up), t, down)
    return rms_norm(x, tensors["model.norm.weight"], epsilon) @ tensors[f"{head}.weight"].T
