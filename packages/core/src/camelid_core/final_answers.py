r"""The final answer that a text states: which place of the text is taken, and whether two texts state the same.

Knows GSM8K's `####`, `\boxed{}`, and English and Chinese sentences. How a number may be written is in `stated_numbers`.
"""

from __future__ import annotations

import re

from camelid_core.stated_numbers import NUMBER, Number, plain_notation

_GSM8K = re.compile(rf"####[ \t*$€£¥￥]*({NUMBER})(?![.)][ \t]+\S)")
_STATED = re.compile(
    rf"(?:answer\s+is|答案(?:是|为|為))[\s:*$€£¥￥=(\[\\]*(?:(?:{NUMBER}\s*[-+*/]\s*){{1,8}}{NUMBER}\s*=\s*)?({NUMBER})",
    re.IGNORECASE,
)
_ANYWHERE = re.compile(rf"\^\{{?-?[0-9]+|({NUMBER})")
"""The power of a letter or a unit (cm^2) is skipped: it is no number by itself."""
_BOXED_NUMBER = re.compile(rf"(?:[A-Za-z]\s*=)?[\s$€£¥￥]*({NUMBER})\s*(?:[%°€£¥￥]|[A-Za-z]{{2}}[A-Za-z\s]*)?\.?")
_BOX = "\\boxed{"
_BRACE = re.compile(r"\\boxed\{|[{}]")


def final_answer(text: str) -> str | None:
    r"""The first `#### X` (as GSM8K is scored), else the last `\boxed{X}`, else the last "answer is X" or
    "答案是X", else the last number; a number is written one way. A box that holds no number is given whole."""
    plain = plain_notation(text)
    if first := _GSM8K.search(plain):
        return Number.parse(first[1]).normal()
    if (box := _last_box(plain)) is not None:
        return box
    found = _STATED.findall(plain) or [number for number in _ANYWHERE.findall(plain) if number]
    return Number.parse(found[-1]).normal() if found else None


def same_answer(a: str | None, b: str | None) -> bool:
    """Whether two texts state the same; a text that states nothing equals nothing."""
    left, right = final_answer(a or ""), final_answer(b or "")
    if left is None or right is None:
        return False
    return left == right or left == _in_box(b or "") or right == _in_box(a or "")


def _last_box(plain: str) -> str | None:
    """What the last closed box holds: its number, or `\\boxed{…}` without white space; None where there is none."""
    opened: list[tuple[str, int]] = []
    last = ""
    for found in _BRACE.finditer(plain):
        if found[0] != "}":
            opened.append((found[0], found.end()))
        elif opened:
            opening, start = opened.pop()
            last = (plain[start : found.start()].strip() if opening != "{" else "") or last
    number = _BOXED_NUMBER.fullmatch(last)
    if not last:
        return None
    return Number.parse(number[1]).normal() if number else _in_box(last)


def _in_box(content: str) -> str:
    return _BOX + "".join(plain_notation(content).split()) + "}"
