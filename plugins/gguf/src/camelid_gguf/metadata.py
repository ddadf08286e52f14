"""A configuration as metadata of a GGUF file: sizes, norms, rotary positions; and what a file says of itself.

Knows the families' data. What llama.cpp would compute otherwise than Transformers is refused here, by its key. Knows
nothing of tensors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.licences import UNKNOWN

from .families import FAMILIES, Family
from .mixtures import MIXTURES
from .rope_settings import rope_settings
from .vocabulary import Vocabulary

QUANTIZATION_VERSION = 2
"""Of ggml's blocks, since 2023."""


def family_of(config: Mapping[str, Any]) -> Family:
    """Raises ModelError: none that is written, or one with a setting that llama.cpp does not know."""
    kind = str(config.get("model_type", ""))
    if kind not in FAMILIES:
        raise ModelError(f"models of type {kind!r} cannot be written; those that can are {', '.join(FAMILIES)}.")
    family = FAMILIES[kind]
    for refusal in _refusals(config, family):
        raise ModelError(refusal)
    return family


def _refusals(config: Mapping[str, Any], family: Family) -> Iterator[str]:
    for key, allowed in family.granted.items():
        if config.get(key) not in allowed:
            yield f"it has {key}={config.get(key)!r}, and llama.cpp computes this family with {_listed(allowed)}."
    wanted = _attention_scale(config)
    if wanted is not None and wanted not in _known_scales(config):
        yield f"it has query_pre_attn_scalar={wanted!r}, and llama.cpp computes with its head_dim={config['head_dim']}."
    if config.get("num_local_experts") or config.get("num_experts"):
        yield "it has experts, which are not written yet."


def _attention_scale(config: Mapping[str, Any]) -> Any:
    return config.get("query_pre_attn_scalar")


_LAYERS_OF_27B = (46, 62)
"""Gemma 2's and 3's largest, whose scale is another one; llama.cpp knows them by their layers."""


def _known_scales(config: Mapping[str, Any]) -> Sequence[int]:
    if config["num_hidden_layers"] in _LAYERS_OF_27B:
        return [config["hidden_size"] // config["num_attention_heads"]]
    return [config["head_dim"]]


def _listed(values: Sequence[Any]) -> str:
    return " or ".join(repr(value) for value in values if value is not None) or "none"


def settings(config: Mapping[str, Any], family: Family) -> dict[str, Any]:
    """Key → value of all that llama.cpp reads of a configuration, with the architecture before each key."""
    found = dict(family.constants)
    for key, names in family.settings.items():
        if (value := next((config[name] for name in names if config.get(name) is not None), None)) is not None:
            found[key] = value
    found.setdefault("feed_forward_length", 4 * int(found["embedding_length"]))
    found |= rope_settings(config, family)
    return {f"{family.architecture}.{key}": value for key, value in found.items()}


def notes(config: Mapping[str, Any], family: Family) -> Iterator[str]:
    """Sentences for people on what llama.cpp computes otherwise in long texts."""
    window = config.get("sliding_window")
    if window and "attention.sliding_window" not in family.settings and window < config["max_position_embeddings"]:
        yield (
            f"It attends to the last {window:,} tokens (sliding_window), and llama.cpp to all with this family; "
            "answers to longer texts may differ."
        )


def corrections(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """What a file's metadata says of a configuration's settings, by the configuration's key, where it is otherwise."""
    family = FAMILIES.get(str(config.get("model_type", "")))
    if family is None:
        return {}
    found: dict[str, Any] = {}
    for key, names in family.settings.items():
        value = values.get(f"{family.architecture}.{key}")
        if value is not None and config.get(names[0]) != value:
            found[names[0]] = value
    if _attention_scale(config) is not None:
        complete = {**config, **found}
        found["query_pre_attn_scalar"] = _known_scales(complete)[0]
    return found


_PHI3 = ("phi-3", "phi3")
_PHI3_TOKENS = ("</s>", "<unk>", "<s>", "<|endoftext|>")


def loadable_name(name: str, tokens: Sequence[str], strips: bool) -> str:
    """The name that a file gives its model. llama.cpp reads from it, and from nothing else, that control tokens take
    the white space behind them, which `strips` says that they do; where Phi-3's tokens are not there, it cannot load
    a file of that name at all."""
    named = any(each in name.lower() for each in _PHI3)
    known = set(tokens).issuperset(_PHI3_TOKENS)
    if strips and known and not named:
        return f"{name} (Phi-3)"
    if named and not (strips and known):
        return re.sub("phi-?3", "Phi 3", name, flags=re.IGNORECASE)
    return name


def description(name: str, licence: str, mixture: str, vocabulary: Vocabulary, pre: str, jinja: str) -> dict[str, Any]:
    """Key → value of what a file says of itself, of its tokenizer and of its chat template. `pre` is the name of the
    pre-tokenizer."""
    found: dict[str, Any] = {"general.type": "model"}
    found["general.name"] = loadable_name(name, vocabulary.tokens, vocabulary.strips)
    if licence and licence != UNKNOWN:
        found["general.license"] = licence
    found |= {"general.file_type": MIXTURES[mixture].number, "general.quantization_version": QUANTIZATION_VERSION}
    found |= vocabulary.metadata(pre)
    return found | ({"tokenizer.chat_template": jinja} if jinja else {})


def adapter_description(name: str, licence: str, alpha: float) -> dict[str, Any]:
    """Key → value of what the file of an adapter says of itself."""
    found: dict[str, Any] = {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": alpha}
    found |= {"general.name": name, "general.quantization_version": QUANTIZATION_VERSION}
    return found | ({"general.license": licence} if licence and licence != UNKNOWN else {})
