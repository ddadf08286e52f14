"""The stable prefix: how much of a text's beginning has the same token ids whatever follows it.

A template's preamble comes before every instruction. Where a tokenizer first splits text into words by
rules that look no further than the next word, all but the last words of the preamble keep their ids, so
they are encoded once. Knows tokenizers' rules; where it does not know them, nothing is stable.
"""

from __future__ import annotations

import json
import re
from typing import Any

_LOOKAROUND = re.compile(r"\(\?<|\(\?=|\(\?!(?!\\S\))")
"""Anything but `(?!\\S)`, which looks one character ahead."""
_MIN_CHARACTERS = 24
"""Encoding a shorter text costs too little to save."""
_FOLLOWERS = (
    "",
    "x",
    " x",
    "\n",
    "\n\n",
    "  a",
    "7",
    " 7",
    "'s",
    "'",
    "é",
    "\u0301",
    "中",
    ":",
    "#",
    "._",
    "\t",
    "\r\n",
    "🙂",
)


def splits_into_words(backend: Any) -> bool:
    """Whether this tokenizer's words depend on nothing after the next word, and token ids only on their word."""
    if type(backend.model).__name__ != "BPE" or backend.model.dropout:
        return False
    if backend.normalizer is not None and _state(backend.normalizer)["type"] != "NFC":
        return False
    if any(token.lstrip or token.rstrip or token.single_word for token in _added_text_tokens(backend)):
        return False
    return backend.pre_tokenizer is not None and _reads_left_to_right(_state(backend.pre_tokenizer))


def stable_prefix_length(text: str, backend: Any, start: Any, inside: Any) -> int:
    """How many characters at the start of `text` may be encoded (by `start`) apart from the rest (by `inside`).

    Inferred from the tokenizer's rules, and verified with a number of texts that may follow.
    """
    if len(text) < _MIN_CHARACTERS:
        return 0
    pieces = backend.pre_tokenizer.pre_tokenize_str(text)
    for _, (place, _) in reversed(pieces[1:-1]):
        # the word that begins here is followed by another, so what comes before it cannot depend on what follows both
        if text[place].isascii() and not text[place].isspace() and not _may_split_added_token(text, place, backend):
            prefix = start.encode(text[:place], add_special_tokens=False).ids
            for follower in _FOLLOWERS:
                whole = start.encode(text + follower, add_special_tokens=False).ids
                rest = inside.encode(text[place:] + follower, add_special_tokens=False).ids
                if whole != prefix + rest:
                    return 0
            return int(place)
    return 0


def _reads_left_to_right(rule: dict[str, Any]) -> bool:
    """One splitting rule and then bytes, or digits and then words: pre-tokenizers known to split from left to right."""
    rules = rule["pretokenizers"] if rule["type"] == "Sequence" else [rule]
    *before, last = rules
    if last["type"] != "ByteLevel":
        return False
    if not last.get("use_regex", True):
        return len(before) == 1 and before[0]["type"] == "Split" and _isolates_without_lookaround(before[0])
    return all(each["type"] == "Digits" for each in before)


def _isolates_without_lookaround(rule: dict[str, Any]) -> bool:
    pattern = rule["pattern"].get("Regex", "(?<")
    return rule["behavior"] == "Isolated" and not rule["invert"] and not _LOOKAROUND.search(pattern)


def _added_text_tokens(backend: Any) -> list[Any]:
    """Added tokens that are no control tokens: those are found in text, too."""
    return [token for token in backend.get_added_tokens_decoder().values() if not token.special]


def _may_split_added_token(text: str, place: int, backend: Any) -> bool:
    """Whether an added token might begin before `place` and end after it."""
    contents = [token.content for token in _added_text_tokens(backend)]
    return any(text[:place].endswith(each[:size]) for each in contents for size in range(1, len(each)))


def _state(component: Any) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(component.__getstate__())
    return state
