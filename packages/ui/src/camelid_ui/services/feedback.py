"""What people think of answers, kept as data to train on: thumbs for KTO, pairs of a better and a worse one for DPO.

Knows judged answers and where the journals lie. Knows nothing of pages. Nothing is ever overwritten: who takes a thumb
back adds a row that says so, and readers go by the last word.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from camelid_core.datasets.feedback import retraction, say
from camelid_core.errors import UsageError
from camelid_core.paths import data_dir
from camelid_core.readers.row_faults import RowFault
from camelid_core.readers.text_values import text
from camelid_core.records import Message, check_roles

THUMBS, PAIRS = "chat-ratings", "chat-preferences"
"""Sets by these names appear on the Data and Train pages with the first row."""


@dataclass(frozen=True, slots=True)
class RatedAnswer:
    """An answer, what it answers, and what is thought of it: 1 good, -1 bad, 0 nothing. `ident` is its own for ever."""

    ident: str
    prompt: tuple[Message, ...]
    answer: str
    model: str = ""
    rating: int = 0


@dataclass(frozen=True, slots=True)
class RowsWritten:
    """How many rows each journal got that it did not have."""

    thumbs: int
    pairs: int


class FeedbackService:
    def rate(self, answers: Sequence[RatedAnswer], changed: str) -> RowsWritten:
        """Keep what is thought of the answer `changed` and the others to the same question, and how they compare.

        Raises:
            UsageError: there is no such answer, or nothing in it.
            DataError: a text that cannot be learnt from, or the disk is full; nothing was kept then.
        """
        judged = next((answer for answer in answers if answer.ident == changed), None)
        if judged is None:
            raise UsageError("this answer is not there any more.")
        if not judged.answer.strip():
            raise UsageError("an empty answer teaches nothing.")
        check_roles(judged.prompt)
        said = [answer for answer in answers if answer.answer.strip()]
        for answer in said:
            if answer.rating:
                _check(answer)
        thumbs = say(data_dir() / f"{THUMBS}.jsonl", [_thumb(answer) for answer in said])
        pairs = list(_pairs(said))
        taken_back = [row for row in pairs if "chosen" not in row]
        say(data_dir() / f"{PAIRS}.jsonl", taken_back)
        return RowsWritten(thumbs, say(data_dir() / f"{PAIRS}.jsonl", [row for row in pairs if "chosen" in row]))


def _check(judged: RatedAnswer) -> None:
    try:
        for said in (judged.answer, judged.model, *(message.text for message in judged.prompt)):
            text(said)
    except RowFault as fault:
        raise UsageError(f"this cannot be learnt from: {fault.text}") from None


def _thumb(judged: RatedAnswer) -> dict[str, Any]:
    ident = _digest(judged.ident)
    if not judged.rating:
        return retraction(ident)
    return {
        "id": ident,
        "prompt": _turns(judged.prompt),
        "completion": _turns([Message("assistant", judged.answer)]),
        "label": judged.rating > 0,
        "model": judged.model,
    }


def _pairs(answers: Sequence[RatedAnswer]) -> Iterator[dict[str, Any]]:
    """A row for every two answers to the very same prompt: which is better, or that neither is."""
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
    """As messages, never as one text: a question that begins with a bracket stays a question."""
    return [{"role": message.role, "content": message.text} for message in messages]


def _digest(*idents: str) -> str:
    return hashlib.sha256("\n".join(idents).encode("utf-8", "surrogatepass")).hexdigest()[:32]
