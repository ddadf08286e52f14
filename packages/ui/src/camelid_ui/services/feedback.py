"""Feedback on answers as training data: thumbs up and down for KTO, preference pairs for DPO.

Knows rated answers and their journal files. Knows nothing of pages. Journals are append-only: taking a thumb back
appends a retraction, and readers use the last row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from camelid_core.datasets.feedback import append_feedback, retraction
from camelid_core.errors import UsageError
from camelid_core.paths import data_dir
from camelid_core.readers.row_faults import RowFault
from camelid_core.readers.text_values import text
from camelid_core.records import Message, check_roles

THUMBS, PAIRS = "chat-ratings", "chat-preferences"
"""Datasets of these names appear on the Data and Train pages with the first row."""


@dataclass(frozen=True, slots=True)
class RatedAnswer:
    """An answer, its prompt and its rating: 1 good, -1 bad, 0 none. `ident` identifies it for ever."""

    ident: str
    prompt: tuple[Message, ...]
    answer: str
    model: str = ""
    rating: int = 0


@dataclass(frozen=True, slots=True)
class RowsWritten:
    """How many new rows were appended to each journal."""

    thumbs: int
    pairs: int


class FeedbackService:
    def rate(self, answers: Sequence[RatedAnswer], changed: str) -> RowsWritten:
        """Write the ratings of the answer `changed` and of the others to the same question, and the pairs they make.

        Raises:
            UsageError: there is no such answer, or nothing in it.
            DataError: a text that cannot be trained on, or the disk is full; nothing was written then.
        """
        rated = next((answer for answer in answers if answer.ident == changed), None)
        if rated is None:
            raise UsageError("this answer is not there any more.")
        if not rated.answer.strip():
            raise UsageError("an empty answer cannot be trained on.")
        check_roles(rated.prompt)
        written = [answer for answer in answers if answer.answer.strip()]
        for answer in written:
            if answer.rating:
                _check(answer)
        thumbs = append_feedback(data_dir() / f"{THUMBS}.jsonl", [_thumb(answer) for answer in written])
        pairs = list(_pairs(written))
        retracted = [row for row in pairs if "chosen" not in row]
        append_feedback(data_dir() / f"{PAIRS}.jsonl", retracted)
        return RowsWritten(
            thumbs, append_feedback(data_dir() / f"{PAIRS}.jsonl", [row for row in pairs if "chosen" in row])
        )


def _check(rated: RatedAnswer) -> None:
    try:
        for content in (rated.answer, rated.model, *(message.text for message in rated.prompt)):
            text(content)
    except RowFault as fault:
        raise UsageError(f"this cannot be trained on: {fault.text}") from None


def _thumb(rated: RatedAnswer) -> dict[str, Any]:
    ident = _digest(rated.ident)
    if not rated.rating:
        return retraction(ident)
    return {
        "id": ident,
        "prompt": _turns(rated.prompt),
        "completion": _turns([Message("assistant", rated.answer)]),
        "label": rated.rating > 0,
        "model": rated.model,
    }


def _pairs(answers: Sequence[RatedAnswer]) -> Iterator[dict[str, Any]]:
    """A preference pair for every two answers to the same prompt, or its retraction where neither is better."""
    for one, other in combinations(answers, 2):
        if one.prompt != other.prompt:
            continue
        ident = _digest(*sorted((one.ident, other.ident)))
        better, worse = (one, other) if one.rating > other.rating else (other, one)
        if not better.rating > 0 > worse.rating or one.answer == other.answer:
            yield retraction(ident)
            continue
        yield {
            "id": ident,
            "prompt": _turns(better.prompt),
            "chosen": _turns([Message("assistant", better.answer)]),
            "rejected": _turns([Message("assistant", worse.answer)]),
            "models": [better.model, worse.model],
        }


def _turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    """As messages, never as one text: a question that begins with a bracket is not read as JSON."""
    return [{"role": message.role, "content": message.text} for message in messages]


def _digest(*idents: str) -> str:
    return hashlib.sha256("\n".join(idents).encode("utf-8", "surrogatepass")).hexdigest()[:32]
