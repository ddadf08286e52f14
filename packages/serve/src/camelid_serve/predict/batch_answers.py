"""Many conversations → their answers, in whatever order is quickest, with progress.

Knows how to keep an engine's batch full and how to sort by length. Knows nothing of files. An invalid conversation
gives an error of its own; no answer depends on another conversation.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from camelid_core.errors import CamelidError
from camelid_core.records import Message
from camelid_core.tasks import TaskContext

from camelid_serve.answers import AnswerDelta
from camelid_serve.engine import Sampling
from camelid_serve.generation import continuation_ids, generate
from camelid_serve.loaded_models import LoadedModel

_BATCHES_PER_WINDOW = 16
"""Batches that are encoded and sorted by length together: the more, the less padding; the fewer, the less memory."""
_EMIT_SECONDS = 0.5

KeyedConversation = tuple[int, Sequence[Message]]


def generate_all(
    loaded: LoadedModel, items: Iterable[KeyedConversation], sampling: Sampling, slots: int, tuned: bool = True
) -> Generator[tuple[int, AnswerDelta | CamelidError], None, None]:
    """Deltas and errors by the items' keys. An answer that a conversation ends with is continued. Each key has a seed
    of its own; closing the iterator cancels the requests. No more than `slots` × 16 items are read ahead."""
    waiting = iter(items)
    while window := list(islice(waiting, slots * _BATCHES_PER_WINDOW)):
        encoded: list[tuple[int, list[int], list[int]]] = []
        for key, messages in window:
            try:
                encoded.append((key, *continuation_ids(loaded, messages, ())))
            except CamelidError as error:
                yield key, error
        # the longest first: out of memory shows at once
        encoded.sort(key=lambda each: len(each[1]) + len(each[2]), reverse=True)
        keys = [key for key, *_ in encoded]
        prompts, begun = [ids for _, ids, _ in encoded], [begun for *_, begun in encoded]
        settings = [sampling.model_copy(update={"seed": sampling.seed + key}) for key in keys]
        with generate(loaded, prompts, settings, tuned, prefix_ids=begun, raise_errors=False) as answers:
            for delta in answers:
                yield keys[delta.index], delta.error or delta


class TaskProgress:
    """Emits progress events of a task: rows (or what `unit` says) done, tokens per second, estimated seconds left."""

    def __init__(self, context: TaskContext, total: int, done: int = 0, unit: str = "rows") -> None:
        self._context = context
        self._unit = unit
        self.total = total
        self._done, self._skipped = done, done
        self._started = self._emitted = time.monotonic()
        self.tokens = 0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    @property
    def tokens_per_second(self) -> float:
        return round(self.tokens / max(self.seconds, 1e-9), 1)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time in this block, such as loading a model, from speed and estimate."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._started += time.monotonic() - started

    def skip(self, rows: int) -> None:
        """Count rows that were done before, without using them for speed and estimate."""
        self._done += rows
        self._skipped += rows

    def row(self, tokens: int = 0) -> None:
        self.advance(1, tokens)

    def advance(self, by: int, tokens: int) -> None:
        self._done += by
        self.tokens += tokens
        if time.monotonic() - self._emitted >= _EMIT_SECONDS or self._done == self.total:
            self.emit()

    def emit(self, **more: Any) -> None:
        self._emitted = time.monotonic()
        new = self._done - self._skipped
        eta = round(self.seconds / new * (self.total - self._done), 1) if new else None
        self._context.emit(
            "progress",
            done=self._done,
            total=self.total,
            unit=self._unit,
            tokens_per_second=self.tokens_per_second,
            eta=eta,
            **more,
        )
