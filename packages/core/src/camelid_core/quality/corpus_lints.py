"""Lints that compare a row with the rows before it: duplicates, near-duplicates, one prompt with two answers.

Knows keys of earlier rows. Knows nothing of files. Each `start` begins without any.
"""

from __future__ import annotations

from camelid_core.records import Record

from .near_duplicates import NearDuplicateIndex
from .row_keys import KeyMap, Normalise, answer_key, prompt_key, record_key
from .row_lints import Lint, LintFind


def _single_row(record: Record) -> str:
    """What a lint that compares rows finds in one row by itself."""
    return ""


def _duplicates(normalise: Normalise) -> LintFind:
    seen, number = KeyMap(), 0

    def find(record: Record) -> str:
        nonlocal number
        number += 1
        earlier = seen.put(record_key(record, normalise), number)
        return f"the same as row {earlier}" if earlier >= 0 else ""

    return find


def _same_prompt(normalise: Normalise) -> LintFind:
    """One number for each prompt: the row it stood in first and, in the low 32 bits, that row's answer key."""
    seen, number = KeyMap(wide=True), 0

    def find(record: Record) -> str:
        nonlocal number
        number += 1
        answer = answer_key(record, normalise)
        first = seen.put(prompt_key(record, normalise), number << 32 | answer)
        if first < 0 or first & 0xFFFFFFFF == answer:
            return ""
        return f"asks the same as row {first >> 32} and answers otherwise"

    return find


def _near_duplicates(_: Normalise) -> LintFind:
    seen, number = NearDuplicateIndex(), 0

    def find(record: Record) -> str:
        nonlocal number
        number += 1
        earlier = seen.put(record, number)
        return f"nearly the same as row {earlier}" if earlier >= 0 else ""

    return find


CORPUS_LINTS: dict[str, Lint] = {
    lint.name: lint
    for lint in (
        Lint("duplicate", "A row that occurred already, white space aside.", _single_row, factory=_duplicates),
        Lint("same-prompt", "A prompt that occurred already, with another answer.", _single_row, factory=_same_prompt),
        Lint(
            "near-duplicate",
            "A row whose words are mostly those of an earlier one.",
            _single_row,
            factory=_near_duplicates,
            default=False,
            extra=True,
        ),
    )
}
