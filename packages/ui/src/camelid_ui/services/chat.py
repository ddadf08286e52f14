"""Talking with a model: one resident engine in a process of its own, shared by all pages.

Knows loading, asking and stopping. Knows nothing of how conversations look. No model is ever loaded
in this process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Literal

from camelid_core.errors import CamelidError, ModelError
from camelid_core.records import Message
from camelid_serve.engine import Sampling
from camelid_serve.remote import EngineProcess, Reply

from .models import Models

_PACE = 0.1
_DRAWN_PER_SECOND = 40_000
"""Characters: a browser draws the whole conversation anew each time, and must find time for a click on Stop."""

State = Literal["empty", "loading", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class Status:
    """What is resident. `step` says what loading is at; `seconds` how long it takes or took."""

    state: State = "empty"
    model: str = ""
    step: str = ""
    seconds: float = 0.0
    error: str = ""
    tuned: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    tokens: int
    tokens_per_second: float
    first_token: float
    finish: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as far as it is; `facts` once it has ended."""

    text: str
    facts: Facts | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A conversation to answer, with the adapter or without."""

    messages: Sequence[Message]
    tuned: bool = True


class Chat:
    def __init__(self, models: Models, engine: EngineProcess | None = None) -> None:
        self.models = models
        self._engine = engine or EngineProcess()
        self._lock = threading.Lock()
        self._status = Status()
        self._began = 0.0
        self._asked: dict[str, list[Reply]] = {}

    @property
    def status(self) -> Status:
        now = self._status
        if now.state == "loading":
            return Status("loading", now.model, now.step, time.monotonic() - self._began)
        return now

    def load(self, model: str, template: str = "") -> None:
        """Begin to load `model` in place of what is resident; `status` tells how it goes.

        Raises:
            CamelidError: there is no such model, or another is being loaded.
        """
        self.models.resolve(model)
        with self._lock:
            if self._status.state == "loading":
                raise ModelError(f"{self._status.model!r} is being loaded; wait for it.")
            if self._status.state == "ready" and self._status.model == model:
                return
            self._began = time.monotonic()
            self._status = Status("loading", model)
        threading.Thread(target=self._load, args=(model, template), name="load model", daemon=True).start()

    def close(self) -> None:
        """End the engine's process."""
        self._engine.close()
        self._status = Status()

    def ask(self, session: str, columns: Sequence[Column], sampling: Sampling) -> Iterator[list[Answer]]:
        """Answers as they grow, one per column.

        Closing the iterator, or `stop(session)`, ends them with what is there.

        Raises:
            ModelError: no model is loaded, or the conversation is too long.
        """
        if self._status.state != "ready":
            raise ModelError("no model is loaded; choose one and load it first.")
        running = [self._engine.chat(column.messages, sampling, column.tuned) for column in columns]
        self._asked[session] = running
        try:
            yield from _together(running)
        finally:
            self._asked.pop(session, None)
            for answering in running:
                answering.close()

    def stop(self, session: str) -> None:
        """End the answers of one page with what is there."""
        for answering in self._asked.get(session, []):
            answering.cancel()

    def _load(self, model: str, template: str) -> None:
        try:
            for step in self._engine.load(model, template):
                self._status = Status("loading", model, step)
        except CamelidError as error:
            self._status = Status("failed", model, error=str(error))
        except Exception as error:  # whatever an engine's library raises: the page must say so, and not wait for ever
            self._status = Status("failed", model, error=f"{type(error).__name__}: {error}")
        else:
            loaded = self._engine.loaded
            tuned = loaded is not None and loaded.has_adapter
            self._status = Status("ready", model, seconds=time.monotonic() - self._began, tuned=tuned)


def _together(running: Sequence[Reply]) -> Iterator[list[Answer]]:
    """Several answers at once, each read by a thread of its own, given out no faster than a page can draw them."""
    news: SimpleQueue[tuple[int, Answer | None]] = SimpleQueue()
    for index, answering in enumerate(running):
        threading.Thread(target=_read, args=(index, answering, news), name=f"answer {index}", daemon=True).start()
    answers = [Answer("") for _ in running]
    left, given, fresh = len(running), 0.0, False
    while left:
        pace = max(_PACE, sum(len(answer.text) for answer in answers) / _DRAWN_PER_SECOND)
        with suppress(Empty):
            index, answer = news.get(timeout=pace)
            left -= answer is None
            fresh = fresh or answer is not None
            answers[index] = answer or answers[index]
        if fresh and (not left or time.monotonic() - given >= pace):
            yield list(answers)
            given, fresh = time.monotonic(), False


def _read(index: int, answering: Reply, news: SimpleQueue[tuple[int, Answer | None]]) -> None:
    text = ""
    try:
        for delta in answering:
            text = delta.answer if delta.facts is not None else text + delta.text
            news.put((index, Answer(text, _facts(delta.facts))))
    except Exception as error:  # told in the page, at the answer it ended
        message = str(error) if isinstance(error, CamelidError) else f"{type(error).__name__}: {error}"
        news.put((index, Answer(text, Facts(0, 0.0, 0.0, "failed"), message)))
    news.put((index, None))


def _facts(facts: dict[str, Any] | None) -> Facts | None:
    if facts is None:
        return None
    return Facts(facts["tokens"], facts["tokens_per_second"], facts["first_token"], facts["finish"])
