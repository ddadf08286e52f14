"""Alpaca instructions that hold a whole dialogue: `Human:` and `Assistant:` in turn.

Knows how such a text is split into turns, and when it is no dialogue. Knows nothing of rows.
"""

from __future__ import annotations

import re

from camelid_core.records import Message

_AT_LINE_STARTS = re.compile(r"(?:^|\n)[ \t]*(Human|Assistant)[ \t]*[:：]")
_ANYWHERE = re.compile(r"\b(Human|Assistant):")


def dialogue(instruction: str) -> list[Message]:
    """The turns before the answer; nothing unless the text is a dialogue from its first word on.

    A dialogue begins with `Human:`, goes on in turn, and ends with an empty `Assistant:` or with the human's
    turn. A text that only mentions or quotes such words stays one instruction.
    """
    if "Human" not in instruction or "Assistant" not in instruction:
        return []
    return _cut(instruction, _AT_LINE_STARTS) or _cut(instruction, _ANYWHERE)


def _cut(instruction: str, marker: re.Pattern[str]) -> list[Message]:
    preamble, *parts = marker.split(instruction)
    speakers, texts = parts[::2], [text.strip() for text in parts[1::2]]
    if preamble.strip() or len(speakers) < 2:
        return []
    if speakers[-1] == "Assistant" and not texts[-1]:
        del speakers[-1], texts[-1]
    in_turn = all(who == ("Human", "Assistant")[index % 2] for index, who in enumerate(speakers))
    if not in_turn or len(speakers) % 2 == 0 or not all(texts):
        return []
    return [
        Message("assistant" if who == "Assistant" else "user", text) for who, text in zip(speakers, texts, strict=True)
    ]
