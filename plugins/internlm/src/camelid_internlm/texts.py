"""What InternLM's checkpoints share: the tokenizer, positions, and how a chat model is told from a base model.

Generation 1 spells its control tokens `<eoh>` and `<eoa>`, which are pieces of the SentencePiece model itself, in the
middle of a text; generations 2 and 3 add `<|im_end|>` and its like beside it. A chat model's `generation_config.json`
ends at one of them. Source: `tokenization_internlm.py` and `generation_config.json` of internlm-chat-7b and
internlm2-chat-7b.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.json_files import object_in
from camelid_core.models.checkpoint_converters import Converted
from camelid_core.models.llama_target import positive_number
from camelid_core.models.sentencepiece_model import read_sentencepiece
from camelid_core.models.sentencepiece_tokenizer import TokenizerSettings, added_texts, save_fast_tokenizer

_PAD = "</s>"
_FIRST = TokenizerSettings(pad_token=_PAD, control=r"<eo[ahtc]>", dummy_prefix_once=True)
_LATER = TokenizerSettings(pad_token=_PAD, control=r"<\|\w+\|>")
_ENDS = {"<eoa>": "internlm", "<|im_end|>": "internlm-2"}
_ROPE_TYPES = {"": "default", "origin": "default", "default": "default", "dynamic": "dynamic", "linear": "linear"}


def write_tokenizer(source: Path, output: Path, longest: int, first: bool) -> Converted:
    """The tokenizer, and which template the model was trained with."""
    model = read_sentencepiece(source / "tokenizer.model")
    save_fast_tokenizer(model, source, output, _FIRST if first else _LATER, longest)
    texts = dict(enumerate(piece.text for piece in model.pieces))
    texts |= {each.id: each.text for each in added_texts(source, object_in(source / "tokenizer_config.json"))}
    ends = object_in(source / "generation_config.json").get("eos_token_id")
    for end in ends if isinstance(ends, list) else [ends]:
        text = texts.get(end, "") if isinstance(end, int) else ""
        template = _ENDS.get(text, "")
        if template:
            note = f"Its generation_config.json ends answers at {text!r}: the template is {template!r}."
            return Converted(template, (note,))
    return Converted("", (
        "Its generation_config.json names no chat token, so it is taken for a base model. If it is a chat model, "
        f"convert it with --template {'internlm' if first else 'internlm-2'}.",
    ))  # fmt: skip


def rope_parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """Rotary positions as LLaMA's configuration has them. Raises ModelError: of a kind that these models never had."""
    rotary, scaling = config.get("rotary") or {}, config.get("rope_scaling") or {}
    kind = scaling.get("rope_type") or scaling.get("type") or rotary.get("type") or ""
    if kind not in _ROPE_TYPES:
        known = ", ".join(repr(name) for name in _ROPE_TYPES if name)
        raise ModelError(f"config.json has rotary positions of the kind {kind!r}; converted are {known}.")
    made = {
        "rope_type": _ROPE_TYPES[kind],
        "rope_theta": float(config.get("rope_theta") or rotary.get("base") or 10000),
    }
    if made["rope_type"] != "default":
        made["factor"] = float(scaling.get("factor") or rotary.get("scaling_factor") or 1.0)
    return made


def context_length(config: Mapping[str, Any]) -> int:
    return positive_number(config, "max_position_embeddings")
