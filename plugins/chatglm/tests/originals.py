"""Tiny random checkpoints in the layout of THUDM's repositories: their config.json, PyTorch files, SentencePiece model.

Sizes and names follow the repositories' own files; token ids follow the small tokenizers in `data/`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from camelid_core.models.sentencepiece_model import read_sentencepiece

DATA = Path(__file__).parent / "data"
IMAGES, WIDE, INNER, HEADS = 5, 32, 64, 4


def ice_ids(kind: str = "unigram") -> dict[str, int]:
    pieces = read_sentencepiece(DATA / f"ice_{kind}.model").pieces
    return {piece.text: IMAGES + number for number, piece in enumerate(pieces)}


def make_chatglm(directory: Path, layers: int = 2, kind: str = "unigram", tied: bool = True, seed: int = 0) -> Path:
    """ChatGLM-6B: two PyTorch files with an index, the output layer as a second copy of the embeddings if `tied`."""
    directory.mkdir(parents=True)
    shutil.copy(DATA / f"ice_{kind}.model", directory / "ice_text.model")
    ids = ice_ids(kind)
    size = IMAGES + len(read_sentencepiece(DATA / f"ice_{kind}.model").pieces) + 3
    config = {
        "architectures": ["ChatGLMModel"],
        "auto_map": {"AutoModel": "modeling_chatglm.ChatGLMForConditionalGeneration"},
        "bos_token_id": ids["<sop>"], "eos_token_id": ids["<eop>"], "mask_token_id": ids["[MASK]"],
        "gmask_token_id": ids["[gMASK]"], "pad_token_id": ids["<pad>"], "hidden_size": WIDE, "inner_hidden_size": INNER,
        "layernorm_epsilon": 1e-05, "max_sequence_length": 512, "model_type": "chatglm", "num_attention_heads": HEADS,
        "num_layers": layers, "position_encoding_2d": True, "pre_seq_len": None, "prefix_projection": False,
        "quantization_bit": 0, "torch_dtype": "float32", "use_cache": True, "vocab_size": size,
    }  # fmt: skip
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "tokenizer_config.json").write_text(
        json.dumps(
            {"name_or_path": "THUDM/chatglm-6b", "num_image_tokens": IMAGES, "tokenizer_class": "ChatGLMTokenizer"}
        )
    )
    (directory / "modeling_chatglm.py").write_text("raise SystemExit('code of a model was run')\n")
    shapes = {"transformer.word_embeddings.weight": (size, WIDE)}
    for number in range(layers):
        layer = f"transformer.layers.{number}"
        shapes |= {
            f"{layer}.attention.rotary_emb.inv_freq": (WIDE // HEADS // 4,),
            **norm(f"{layer}.input_layernorm"), **dense(f"{layer}.attention.query_key_value", 3 * WIDE, WIDE),
            **dense(f"{layer}.attention.dense", WIDE, WIDE), **norm(f"{layer}.post_attention_layernorm"),
            **dense(f"{layer}.mlp.dense_h_to_4h", INNER, WIDE), **dense(f"{layer}.mlp.dense_4h_to_h", WIDE, INNER),
        }  # fmt: skip
    shapes |= norm("transformer.final_layernorm") | {"lm_head.weight": (size, WIDE)}
    weights = random_weights(shapes, seed)
    if tied:
        weights["lm_head.weight"] = weights["transformer.word_embeddings.weight"].clone()
    save(directory, weights)
    return directory


def norm(name: str) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (WIDE,), f"{name}.bias": (WIDE,)}


def dense(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def random_weights(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, torch.Tensor]:
    """Large enough that attention is far from even: a wrong mask or position shows."""
    numbers = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=numbers) * (0.2 if len(shape) > 1 else 0.1) + ("norm.weight" in name)
        for name, shape in shapes.items()
    }


def save(directory: Path, weights: dict[str, torch.Tensor]) -> None:
    """As PyTorch files of about half the tensors each, with their index."""
    names = sorted(weights)
    files = {name: f"pytorch_model-0000{1 + (2 * at >= len(names))}-of-00002.bin" for at, name in enumerate(names)}
    for file in sorted(set(files.values())):
        torch.save({name: weights[name] for name in names if files[name] == file}, directory / file)
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))


def original_weights(directory: Path) -> dict[str, torch.Tensor]:
    return {
        name: tensor
        for path in sorted(directory.glob("pytorch_model-*.bin"))
        for name, tensor in torch.load(path, weights_only=True).items()
    }


def make_glm(directory: Path, roles: bool = True, layers: int = 2, seed: int = 0, **changes: object) -> Path:
    """ChatGLM3-6B, or without `roles` ChatGLM2-6B: two heads for keys and values, biases for them and queries alone."""
    directory.mkdir(parents=True)
    shutil.copy(DATA / "chatglm3.model", directory / "tokenizer.model")
    size = len(read_sentencepiece(DATA / "chatglm3.model").pieces) + 12
    config = {
        "add_bias_linear": False, "add_qkv_bias": True, "apply_query_key_layer_scaling": True,
        "apply_residual_connection_post_layernorm": False, "attention_dropout": 0.0, "attention_softmax_in_fp32": True,
        "auto_map": {"AutoModel": "modeling_chatglm.ChatGLMForConditionalGeneration"}, "bias_dropout_fusion": True,
        "eos_token_id": 2, "ffn_hidden_size": INNER, "fp32_residual_connection": False, "hidden_dropout": 0.0,
        "hidden_size": WIDE, "kv_channels": WIDE // HEADS, "layernorm_epsilon": 1e-05, "model_type": "chatglm",
        "multi_query_attention": True, "multi_query_group_num": 2, "num_attention_heads": HEADS, "num_layers": layers,
        "original_rope": True, "pad_token_id": 0, "padded_vocab_size": size, "post_layer_norm": True, "rmsnorm": True,
        "seq_length": 512, "use_cache": True, "torch_dtype": "float32", "tie_word_embeddings": False, **changes,
    }  # fmt: skip
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "ChatGLMTokenizer"}))
    known = 'role_special_tokens = ["<|system|>", "<|user|>"]' if roles else ""
    (directory / "tokenization_chatglm.py").write_text(f"raise SystemExit('code of a model was run')\n{known}\n")
    rows = WIDE + 2 * 2 * WIDE // HEADS
    shapes = {"transformer.embedding.word_embeddings.weight": (size, WIDE), "transformer.rotary_pos_emb.inv_freq": (2,)}
    for number in range(layers):
        layer = f"transformer.encoder.layers.{number}"
        shapes |= {
            f"{layer}.input_layernorm.weight": (WIDE,), **dense(f"{layer}.self_attention.query_key_value", rows, WIDE),
            f"{layer}.self_attention.dense.weight": (WIDE, WIDE), f"{layer}.post_attention_layernorm.weight": (WIDE,),
            f"{layer}.mlp.dense_h_to_4h.weight": (2 * INNER, WIDE), f"{layer}.mlp.dense_4h_to_h.weight": (WIDE, INNER),
        }  # fmt: skip
    shapes |= {"transformer.encoder.final_layernorm.weight": (WIDE,), "transformer.output_layer.weight": (size, WIDE)}
    save(directory, random_weights(shapes, seed))
    return directory
