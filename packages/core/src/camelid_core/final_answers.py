"""The final answer that a text states, as a normalised number (exact match on GSM8K-like tasks).

Knows English and Chinese ways to state a number. Knows nothing of how the number came about:
it neither computes nor reads fractions, units or number words.
"""

from __future__ import annotations

import re

_PLAIN = str.maketrans("０１２３４５６７８９．－−＋：＊", "0123456789.--+:*")
_WIDE_SEPARATOR = re.compile("(?<=[０-９])，(?=[０-９]{3}(?![０-９]))")
_NUMBER = r"(?:(?<![A-Za-z0-9_.)])-)?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?"
_ANYWHERE = re.compile(f"({_NUMBER})")
_STATED = re.compile(rf"(?:answer\s+is|答案(?:是|为|為))[\s:*$€£¥￥]*({_NUMBER})", re.IGNORECASE)


def final_answer(text: str) -> str | None:
    """The last "answer is X" or "答案是X", else the last number; without separators and needless zeros."""
    plain = _WIDE_SEPARATOR.sub(",", text).translate(_PLAIN)
    found = _STATED.findall(plain) or _ANYWHERE.findall(plain)
    return _normal(found[-1]) if found else None


def same_answer(a: str | None, b: str | None) -> bool:
    """Whether two texts state the same number; a text that states none equals nothing."""
    left, right = final_answer(a or ""), final_answer(b or "")
    return left is not None and left == right


def _normal(number: str) -> str:
    whole, _, fraction = number.removeprefix("-").replace(",", "").partition(".")
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    digits = f"{whole}.{fraction}" if fraction else whole
    return f"-{digits}" if number.startswith("-") and digits != "0" else digits
