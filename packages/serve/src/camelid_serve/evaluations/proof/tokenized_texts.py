"""Records → token ids under a template, and which of them count: those of answers, or all of a text.

A model is used for its answers, so that what it would make of a question is not counted. Knows encoders. Knows no
engine.
"""

from __future__ import annotations

from collections.abc import Sequence

from camelid_core.errors import CamelidError
from camelid_core.records import Record
from camelid_core.tokenization.encoder import IGNORE, Encoder

from .text_scores import TokenizedText


def tokenized_texts(encoder: Encoder, records: Sequence[Record], cutoff: int) -> tuple[list[TokenizedText], list[str]]:
    """At most `cutoff` tokens of each record that has any that count; and what was left out or cut, in sentences."""
    found: list[TokenizedText] = []
    refused: list[str] = []
    cut = empty = 0
    for record in records:
        try:
            example = encoder.example(record.messages)
        except CamelidError as error:
            refused.append(str(error).rstrip("."))
            continue
        labels = example.labels[:cutoff]
        counted = [at for at, label in enumerate(labels) if at and label != IGNORE]
        cut += len(example.labels) > cutoff
        empty += not counted
        if counted:
            found.append(TokenizedText(example.input_ids[:cutoff], counted))
    return found, _notes(refused, cut, empty, cutoff)


def _notes(refused: list[str], cut: int, empty: int, cutoff: int) -> list[str]:
    notes = []
    if refused:
        notes.append(f"{len(refused):,} rows were left out: the template has no form for them ({refused[0]}).")
    if cut:
        notes.append(f"{cut:,} texts are longer than {cutoff:,} tokens; their beginnings are compared.")
    if empty:
        notes.append(f"{empty:,} texts were left out: no token of an answer is left of them.")
    return notes
