"""MOSS's formula and its tokenizer as `modeling_moss.py` and `tokenization_moss.py` publish them, in plain functions.

Source: github.com/OpenMOSS/MOSS.
"""

import math
from itertools import pairwise

import regex
import torch

PIECES = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


def rotate(x, width):
    """Rotary positions of the first `width` numbers of each head, neighbours paired; (rows, length, heads, width)."""
    angles = torch.arange(x.shape[1]).float()[:, None] / 10000 ** (torch.arange(0, width, 2) / width)[None]
    sin, cos = (each.repeat_interleave(2, -1)[None, :, None] for each in (angles.sin(), angles.cos()))
    turned, rest = x[..., :width], x[..., width:]
    pairs = torch.stack((-turned[..., 1::2], turned[..., ::2]), -1).flatten(-2)
    return torch.cat((turned * cos + pairs * sin, rest), -1)


def gelu(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def logits(tensors, config, ids):
    width, heads, epsilon = config["n_embd"], config["n_head"], config["layer_norm_epsilon"]
    head = width // heads
    x = tensors["transformer.wte.weight"][ids]
    rows, length, _ = x.shape
    causal = torch.full((length, length), float("-inf")).triu(1)

    def norm(x, t, name):
        return torch.nn.functional.layer_norm(x, (width,), t[f"{name}.weight"], t[f"{name}.bias"], epsilon)

    def linear(x, t, name):
        return torch.nn.functional.linear(x, t[f"{name}.weight"], t.get(f"{name}.bias"))

    for number in range(config["n_layer"]):
        t = {name.split(f".h.{number}.", 1)[1]: v for name, v in tensors.items() if f".h.{number}." in name}
        h = norm(x, t, "ln_1")
        blocks = linear(h, t, "attn.qkv_proj").reshape(rows, length, 4, -1)
        q, v, k = (part.reshape(rows, length, heads, head) for part in blocks.split(width // 4, -1))
        q, k = rotate(q, config["rotary_dim"]), rotate(k, config["rotary_dim"])
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(head) + causal
        mixed = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v).reshape(rows, length, width)
        x = x + linear(mixed, t, "attn.out_proj") + linear(gelu(linear(h, t, "mlp.fc_in")), t, "mlp.fc_out")
    return linear(norm(x, tensors, "transformer.ln_f"), tensors, "lm_head")


def byte_letters():
    """GPT-2's letter for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in plain}
    for byte in range(256):
        letters.setdefault(byte, chr(256 + len(letters) - len(plain)))
    return letters


def token_ids(text, vocabulary, merges):
    """The ids of a text without control tokens."""
    letters, ranks = byte_letters(), {pair: rank for rank, pair in enumerate(merges)}
    ids = []
    for piece in PIECES.findall(text):
        word = [letters[byte] for byte in piece.encode()]
        while len(word) > 1:
            best = min(pairwise(word), key=lambda pair: ranks.get(pair, math.inf))
            if best not in ranks:
                break
            merged, at = [], 0
            while at < len(word):
                together = tuple(word[at : at + 2]) == best
                merged.append("".join(best) if together else word[at])
                at += 2 if together else 1
            word = merged
        ids += [vocabulary[part] for part in word]
    return ids
