"""MOSS's tokenizer as a fast one: byte-level BPE from `vocab.json` and `merges.txt`, and its added control tokens.

The original is Python code on Transformers 4.25, where an added token strips the spaces and line ends beside it unless
its files say otherwise; BOS, EOS and the unknown token do not. Added tokens of white space alone are no control tokens,
and strip nothing here: line ends before indented code are kept, as CodeGen's own fast tokenizer keeps them.
Source: `tokenization_moss.py` of github.com/OpenMOSS/MOSS; `PreTrainedTokenizer.tokenize` of Transformers 4.25.1, which
MOSS's requirements name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.json_files import object_in
from camelid_core.models.resolved_model import read_object
from camelid_core.models.sentencepiece_tokenizer import added_texts

_DEFAULTS = {"bos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "eos_token": "<eom>", "pad_token": ""}


def write_tokenizer(source: Path, output: Path, longest: int) -> None:
    """Raises ModelError: a file is missing or damaged, or an added token would get another id than it had."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = read_object(source / "vocab.json")
    named = _named_tokens(source)
    tokenizer = Tokenizer(models.BPE(vocabulary, _merges(source / "merges.txt"), unk_token=named["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    added = {each.text: each.id for each in added_texts(source, {})}
    for text, number in added.items():
        control = bool(text.strip())
        strips = control and text not in named.values()
        token = AddedToken(text, normalized=False, special=control, lstrip=strips, rstrip=strips)
        (tokenizer.add_special_tokens if control else tokenizer.add_tokens)([token])
        if tokenizer.token_to_id(text) != number:
            raise ModelError(
                f"the tokenizer's added token {text!r} has id {number} in added_tokens.json, where the next free one "
                f"is {tokenizer.token_to_id(text)}. Copy the tokenizer's files again, all of them."
            )
    tokenizer.add_special_tokens([text for text in dict.fromkeys(named.values()) if text and text not in added])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        clean_up_tokenization_spaces=False,
        model_max_length=longest,
        **{**named, "pad_token": named["pad_token"] or named["bos_token"]},
    )
    fast.save_pretrained(output)


def _named_tokens(source: Path) -> dict[str, str]:
    """BOS, EOS, unknown and padding token, as the files have them, else as the original's code does."""
    configured, mapped = object_in(source / "tokenizer_config.json"), object_in(source / "special_tokens_map.json")
    found: dict[str, str] = {}
    for name, default in _DEFAULTS.items():
        value: Any = configured.get(name) or mapped.get(name) or default
        found[name] = str(value.get("content", "")) if isinstance(value, Mapping) else str(value)
    return found


def _merges(path: Path) -> list[tuple[str, str]]:
    """The merges, in order; the first line is a version."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")[1:-1]
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{str(path)!r} cannot be read: {error}.") from None
    pairs = [tuple(line.split()) for line in lines]
    if damaged := next((line for line, pair in zip(lines, pairs, strict=True) if len(pair) != 2), None):
        raise ModelError(f"{str(path)!r} has the line {damaged!r}, which is no pair of tokens. Copy it again.")
    return [(left, right) for left, right in pairs]
