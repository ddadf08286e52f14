"""A GGUF file of a Transformers directory, to measure and test llama.cpp with the same weights.

    python benchmarks/gguf_of.py DIR FILE.gguf [--type f32|f16|q8_0]

Knows models of Llama's and Qwen2's shape with byte-level BPE, and three number formats. llama.cpp's own converter knows
far more; this one needs nothing but the package `gguf`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType

ARCHITECTURES = {"llama": gguf.MODEL_ARCH.LLAMA, "qwen2": gguf.MODEL_ARCH.QWEN2}
TYPES = {
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}


def write_gguf(directory: Path, file: Path, kind: str = "f16") -> Path:
    """Write the model in `directory` to `file`; gives `file` back."""
    config = _json(directory / "config.json")
    architecture = ARCHITECTURES[config["model_type"]]
    number, file_type = TYPES[kind]
    writer = GGUFWriter(file, gguf.MODEL_ARCH_NAMES[architecture])
    writer.add_name(directory.name)
    writer.add_file_type(file_type)
    _add_shape(writer, config)
    _add_tokenizer(writer, directory, config)
    names = gguf.get_tensor_name_map(architecture, config["num_hidden_layers"])
    for name, weights in _weights(directory, config):
        stored = GGMLQuantizationType.F32 if weights.ndim == 1 else number
        found = names.get_name(name, try_suffixes=(".weight", ".bias"))
        writer.add_tensor(found, gguf.quants.quantize(weights, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _weights(directory: Path, config: dict[str, Any]) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Tensors by name as float32; those that rotary positions turn are put in llama.cpp's order, for Llama."""
    from safetensors.torch import load_file

    heads = {"q_proj": config["num_attention_heads"], "k_proj": _key_heads(config)}
    for part in sorted(directory.glob("*.safetensors")):
        for name, tensor in load_file(part).items():
            weights = tensor.float().numpy()
            layer = name.split(".")[-2]
            if layer in heads and config["model_type"] == "llama":
                halves = weights.reshape(heads[layer], 2, -1, *weights.shape[1:])
                weights = np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weights.shape))
            yield name, weights


def _add_shape(writer: GGUFWriter, config: dict[str, Any]) -> None:
    heads = config["num_attention_heads"]
    rope = config.get("rope_parameters") or {}
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(_key_heads(config))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(float(config.get("rope_theta") or rope.get("rope_theta") or 10000.0))
    writer.add_rope_dimension_count(config.get("head_dim") or config["hidden_size"] // heads)
    writer.add_vocab_size(config["vocab_size"])


def _key_heads(config: dict[str, Any]) -> int:
    return int(config.get("num_key_value_heads") or config["num_attention_heads"])


def _add_tokenizer(writer: GGUFWriter, directory: Path, config: dict[str, Any]) -> None:
    from transformers import AutoTokenizer

    whole = _json(directory / "tokenizer.json")
    tokenizer = AutoTokenizer.from_pretrained(directory)
    words = {number: word for word, number in tokenizer.get_vocab().items()}
    added = {number: TokenType.CONTROL if token.special else TokenType.USER_DEFINED
             for number, token in tokenizer.added_tokens_decoder.items()}  # fmt: skip
    size = config["vocab_size"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm" if "Digits" in json.dumps(whole["pre_tokenizer"]) else "gpt-2")
    writer.add_token_list([words.get(number, f"[PAD{number}]") for number in range(size)])
    normal = dict.fromkeys(words, TokenType.NORMAL) | added
    writer.add_token_types([normal.get(number, TokenType.UNUSED) for number in range(size)])
    merges = whole["model"]["merges"]
    writer.add_token_merges([each if isinstance(each, str) else " ".join(each) for each in merges])
    for add, token in (
        (writer.add_bos_token_id, tokenizer.bos_token_id),
        (writer.add_eos_token_id, tokenizer.eos_token_id),
        (writer.add_pad_token_id, tokenizer.pad_token_id),
    ):
        if token is not None:
            add(token)
    writer.add_add_bos_token(False)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--type", choices=list(TYPES), default="f16")
    arguments = parser.parse_args()
    print(write_gguf(arguments.directory, arguments.file, arguments.type))


if __name__ == "__main__":
    main()
