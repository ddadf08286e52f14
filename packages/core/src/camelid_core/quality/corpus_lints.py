"""Lints that compare a row with the rows before it: duplicates, near-duplicates, one question with two answers.

Knows keys and what was seen. Knows nothing of files. Each `start` begins with nothing seen.
"""

from __future__ import annotations

from camelid_core.records import Record

from .near_duplicates import NearIndex
from .row_keys import KeyMap, answer_key, prompt_key, record_key
from .row_lints import Find, Lint


def _alone(record: Record) -> str:
    """What a comparing lint says of one row by itself."""
    return ""


def _duplicates() -> Find:
    seen, number = KeyMap(), 0

    def find(record: Record) -> str:
        nonlocal number
        number += 1
        earlier = seen.put(record_key(record), number)
        return f"the same as row {earlier}" if earlier >= 0 else ""

    return find


def _same_prompt() -> Find:
    """One number for each question: the row it stood in first and, below, a checksum of that row's answer."""
    seen, number = KeyMap(wide=True), 0

    def find(record: Record) -> str:
        nonlocal number
        number += 1
        answer = answer_key(record)
        first = seen.put(prompt_key(record), number << 32 | answer)
        if first < 0 or first & 0xFFFFFFFF == answer:
            return ""
        return f"asks the same as row {first >> 32} and answers otherwise"

    return find


def _near_duplicates() -> Find:
    seen, number = NearIndex(), 0

    def find(record: Record) -> str:
        nonlocal number
        number += 1
        earlier = seen.put(record, number)
        return f"nearly the same as row {earlier}" if earlier >= 0 else ""

    return find


CORPUS_LINTS: dict[str, Lint] = {
    lint.name: lint
    for lint in (
        Lint("duplicate", "A row that stands there already, white space aside.", _alone, begin=_duplicates),
        Lint("same-prompt", "A question asked before, with another answer.", _alone, begin=_same_prompt),
        Lint(
            "near-duplicate",
            "A row whose words are mostly those of an earlier one.",
            _alone,
            begin=_near_duplicates,
            default=False,
            extra=True,
        ),
    )
}
