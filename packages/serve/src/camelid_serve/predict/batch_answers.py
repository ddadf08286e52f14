"""Many conversations → their answers, in whatever order is quickest, with progress.

Knows how to keep an engine busy. Knows nothing of files. A conversation that cannot be asked gives
an error of its own; what is answered for one depends on no other.
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

from camelid_serve.engine import Sampling
from camelid_serve.generation import Delta, generate
from camelid_serve.loaded_models import LoadedModel

_ROUNDS = 16
"""Batches that are encoded and sorted together: the more, the less padding; the fewer, the less memory."""
_EMIT_SECONDS = 0.5

Item = tuple[int, Sequence[Message]]


def answer_many(
    loaded: LoadedModel, items: Iterable[Item], sampling: Sampling, slots: int, tuned: bool = True
) -> Generator[tuple[int, Delta | CamelidError], None, None]:
    """Deltas and errors by the items' keys. Each key has a seed of its own; closing the iterator stops the work.
    No more than `slots` × 16 items are taken at a time."""
    waiting = iter(items)
    while window := list(islice(waiting, slots * _ROUNDS)):
        ready: list[tuple[int, list[int]]] = []
        for key, messages in window:
            try:
                ready.append((key, loaded.prompt_ids(messages)))
            except CamelidError as error:
                yield key, error
        ready.sort(
            key=lambda pair: len(pair[1]), reverse=True
        )  # the longest first: too much for the memory shows at once
        keys = [key for key, _ in ready]
        settings = [sampling.model_copy(update={"seed": sampling.seed + key}) for key in keys]
        with generate(loaded, [ids for _, ids in ready], settings, tuned) as answers:
            for delta in answers:
                yield keys[delta.index], delta


class Progress:
    """Tells a task's context how far it is: rows (or what `unit` says), tokens per second, seconds left."""

    def __init__(self, context: TaskContext, total: int, done: int = 0, unit: str = "rows") -> None:
        self._context = context
        self._unit = unit
        self._total, self._done, self._before = total, done, done
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
        """Time in here counts for nothing: how long a model loads says nothing of how long the rest will take."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._started += time.monotonic() - began

    def skip(self, rows: int) -> None:
        """These were done before; they say nothing of how long the rest will take."""
        self._done += rows
        self._before += rows

    def row(self, tokens: int = 0) -> None:
        self.advance(1, tokens)

    def advance(self, by: int, tokens: int) -> None:
        self._done += by
        self.tokens += tokens
        if time.monotonic() - self._emitted >= _EMIT_SECONDS or self._done == self._total:
            self.emit()

    def emit(self, **more: Any) -> None:
        self._emitted = time.monotonic()
        new = self._done - self._before
        eta = round(self.seconds / new * (self._total - self._done), 1) if new else None
        self._context.emit(
            "progress",
            done=self._done,
            total=self._total,
            unit=self._unit,
            tokens_per_second=self.tokens_per_second,
            eta=eta,
            **more,
        )
