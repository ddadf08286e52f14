"""Plain-text encoders: a tokenizer's own rules, edited so that no text spells a control token.

Knows the JSON of `tokenizers`. Knows nothing of templates or conversations.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection
from typing import Any


def plain_encoders(backend: Any, controls: Collection[str] = ()) -> tuple[Any, Any, Any]:
    """Encoders for the three positions of a span (`AT_START` …), none of which recognises the control tokens
    `controls` or any special token.

    Tokenizers that put a space before text do so at the start (SentencePiece's dummy prefix), some
    also after each control token, and none in the middle of a text.
    """
    from tokenizers import Tokenizer

    source = json.loads(backend.to_str())
    source["truncation"] = source["padding"] = source["post_processor"] = None
    _hide_control_tokens(source, controls)
    edited = json.loads(json.dumps(source))
    after_token_too = _drop_prefix_space(edited)

    def build(spec: dict[str, Any]) -> Any:
        encoder = Tokenizer.from_str(json.dumps(spec))
        encoder.encode_special_tokens = True
        return encoder

    start = build(source)
    if edited == source:
        return start, start, start
    inside = build(edited)
    return start, start if after_token_too else inside, inside


def _hide_control_tokens(spec: dict[str, Any], controls: Collection[str]) -> None:
    """Edit a tokenizer's JSON so that no text spells a control token.

    Not to split on them is not enough: where they are in the model's own vocabulary (Unigram) or
    merges lead to them (BPE made from SentencePiece), the model itself would produce them. They keep
    their ids under random names.
    """
    secret = secrets.token_hex(16)
    contents = [token["content"] for token in spec["added_tokens"] if token["special"] or token["content"] in controls]
    hidden = {content: secret + content for content in contents}
    for token in spec["added_tokens"]:
        token["content"] = hidden.get(token["content"], token["content"])
    model = spec["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {hidden.get(piece, piece): number for piece, number in model["vocab"].items()}
    else:
        model["vocab"] = [[hidden.get(piece, piece), score] for piece, score in model["vocab"]]
    if model.get("unk_token") in hidden:
        model["unk_token"] = hidden[model["unk_token"]]
    if "merges" in model:
        pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
        model["merges"] = [pair for pair in pairs if not {*pair, "".join(pair)} & hidden.keys()]


def _drop_prefix_space(spec: dict[str, Any]) -> bool:
    """Edit a tokenizer's JSON so that it adds no leading space; True if it added one after every control token."""
    always = False
    for stage in ("normalizer", "pre_tokenizer"):
        for part in _components(spec, stage):
            if part["type"] == "Prepend":
                part.clear()
                part.update(type="Sequence", normalizers=[])
                always = True
            elif part["type"] == "Metaspace" and part.get("prepend_scheme") != "never":
                always = always or part["prepend_scheme"] == "always"
                part["prepend_scheme"] = "never"
            elif part["type"] == "ByteLevel" and part.get("add_prefix_space"):
                always, part["add_prefix_space"] = True, False
    return always


def _components(spec: dict[str, Any], stage: str) -> list[dict[str, Any]]:
    part = spec.get(stage)
    if not part:
        return []
    inner = part.get("normalizers") or part.get("pretokenizers")
    return list(inner) if part["type"] == "Sequence" and inner else [part]
