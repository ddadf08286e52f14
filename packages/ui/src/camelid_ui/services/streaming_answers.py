"""Streaming answers, several side by side, with updates no faster than a page can draw them.

Knows requests and answers. Knows neither conversations nor how models are loaded.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import Annotated

from camelid_core.errors import CamelidError
from camelid_core.records import Message
from camelid_serve.answers import AnswerStats
from camelid_serve.engine_process.client import ChatReply
from pydantic import Field

_MIN_SECONDS_BETWEEN_UPDATES = 0.1
_CHARACTERS_PER_SECOND = 40_000
"""A browser draws the whole conversation anew at each update, and must find time for a click on Stop."""
_UNFINISHED_REASONS = ("length", "cancelled", "failed")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer so far; `stats` once it has ended (`facts` in stored conversations). `ids` are its token ids where they
    are known, `edited` says that a person wrote it, `rating` is 1 for a good one, -1 for a bad one."""

    text: str
    stats: Annotated[AnswerStats | None, Field(alias="facts")] = None
    error: str = ""
    ids: tuple[int, ...] = ()
    edited: bool = False
    rating: int = 0

    @property
    def unfinished(self) -> bool:
        """Whether a model can continue it."""
        cut = self.stats is not None and self.stats.finish in _UNFINISHED_REASONS
        return bool(self.text or self.ids) and (cut or self.edited)


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """A conversation for one model to answer; `partial_answer` is the unfinished answer it ends with, to be
    continued."""

    messages: Sequence[Message]
    model: str = ""
    partial_answer: Answer | None = None


def stream_answers(replies: Sequence[ChatReply], requests: Sequence[AnswerRequest]) -> Iterator[list[Answer]]:
    """Several replies at once, each read by a thread of its own."""
    updates: SimpleQueue[tuple[int, Answer | None]] = SimpleQueue()
    partial_answers = [request.partial_answer or Answer("") for request in requests]
    for index, reply in enumerate(replies):
        work = (index, reply, partial_answers[index], updates)
        threading.Thread(target=_read, args=work, name=f"answer {index}", daemon=True).start()
    answers = list(partial_answers)
    open_replies, last_update, changed = len(replies), 0.0, False
    while open_replies:
        pace = max(_MIN_SECONDS_BETWEEN_UPDATES, sum(len(answer.text) for answer in answers) / _CHARACTERS_PER_SECOND)
        with suppress(Empty):
            index, answer = updates.get(timeout=pace)
            open_replies -= answer is None
            changed = changed or answer is not None
            answers[index] = answer or answers[index]
        if changed and (not open_replies or time.monotonic() - last_update >= pace):
            yield list(answers)
            last_update, changed = time.monotonic(), False


def _read(
    index: int, reply: ChatReply, partial_answer: Answer, updates: SimpleQueue[tuple[int, Answer | None]]
) -> None:
    """Read one reply. A continued answer comes as a whole: its first delta has the partial answer, too."""
    growing, text = replace(partial_answer, stats=None, error="", rating=0), ""
    try:
        for delta in reply:
            text = delta.answer if delta.stats is not None else text + delta.text
            stats = _with_tokens_before(delta.stats, partial_answer.stats)
            growing = replace(growing, text=text, ids=delta.ids, stats=stats)
            updates.put((index, growing))
    except Exception as error:  # shown in the page, at the answer it ended
        message = str(error) if isinstance(error, CamelidError) else f"{type(error).__name__}: {error}"
        ids = partial_answer.ids if growing.text == partial_answer.text else ()
        updates.put((index, replace(growing, stats=AnswerStats("failed", 0), error=message, ids=ids)))
    updates.put((index, None))


def _with_tokens_before(stats: AnswerStats | None, before: AnswerStats | None) -> AnswerStats | None:
    """Statistics of this reply, with the tokens of the partial answer added."""
    return replace(stats, tokens=stats.tokens + before.tokens) if stats and before else stats
