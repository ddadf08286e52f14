"""Talking with models: one resident engine in a process of its own, shared by all pages.

Knows loading, asking and stopping. Knows nothing of how conversations look. No model is ever loaded
in this process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal

from camelid_core.errors import CamelidError, ModelError
from camelid_serve.engine import Sampling
from camelid_serve.engine_process.client import EngineProcess, ChatReply

from .memory_check import check_memory
from .models import ModelService
from .streaming_answers import Answer, AnswerRequest, stream_answers

_LEAVE_SECONDS = 2.0

LoadState = Literal["empty", "loading", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class ChatStatus:
    """What is resident: `model`, with `base` the one it is an adapter of, and `compare_with` it another to compare with.
    `step` says what loading is at; `seconds` how long it takes or took. A `ready` one has an `error` where `compare_with`
    could not be loaded."""

    state: LoadState = "empty"
    model: str = ""
    step: str = ""
    seconds: float = 0.0
    error: str = ""
    base: str = ""
    compare_with: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Those that can be asked."""
        return self.model_names if self.state == "ready" else ()

    @property
    def model_names(self) -> tuple[str, ...]:
        """Those whose files are read, or will be."""
        found = (self.model, self.base, self.compare_with) if self.state in ("loading", "ready") else ()
        return tuple(name for name in found if name)


class PageLeft(Exception):
    """The page has turned away from the answers it asked for."""


WaitForTurn = Callable[[Callable[[], bool]], AbstractContextManager[None]]
"""Where a question waits for its turn; what it is given says whether nobody waits for it any more, and then it
raises Left."""


class ChatService:
    def __init__(self, models: ModelService, engine: EngineProcess | None = None) -> None:
        self.models = models
        self._engine = engine or EngineProcess()
        self._lock = threading.Lock()
        self._status = ChatStatus()
        self._load_started = 0.0
        self._replies: dict[str, list[ChatReply]] = {}
        self._left_sessions: set[str] = set()
        self._stopped_sessions: set[str] = set()
        self.wait_for_turn: WaitForTurn = lambda _gone: nullcontext()

    @property
    def status(self) -> ChatStatus:
        now = self._status
        if now.state == "loading":
            return replace(now, seconds=time.monotonic() - self._load_started)
        if now.state == "ready" and not self._engine.alive:
            return ChatStatus("failed", now.model, error="its process has ended; load it again.")
        return now

    def load(self, model: str, compare_with: str = "") -> None:
        """Begin to make `model` resident, and `compare_with` too where it is another than the base that `model` brings
        along; whatever else is resident goes. `status` tells how it goes.

        Raises:
            CamelidError: there is no such model, the memory does not hold two, or others are being loaded.
        """
        base = self.models.base_of(model)
        if compare_with:
            self.models.resolve(compare_with)
        if compare_with == model:
            raise ModelError(f"{model!r} is on both sides; choose another model to compare it with.")
        compare_with = "" if compare_with == base else compare_with
        with self._lock:
            now = self.status
            if now.state == "loading":
                raise ModelError(f"{now.model!r} is being loaded; wait for it.")
            if now.state == "ready" and now.model == model and (not compare_with or now.compare_with == compare_with):
                self._status = replace(now, error="")
                return
            if compare_with:
                check_memory(self.models, [model, compare_with], list(self._engine.models))
            self._load_started = time.monotonic()
            self._status = ChatStatus("loading", model, base=base, compare_with=compare_with)
        threading.Thread(target=self._load, args=(model, base, compare_with), name="load model", daemon=True).start()

    def close(self) -> None:
        """End the engine's process."""
        self._engine.close()
        self._status = ChatStatus()

    def ask(self, session: str, columns: Sequence[AnswerRequest], sampling: Sampling) -> Iterator[list[Answer]]:
        """Answers as they grow, one per column.

        Closing the iterator, or `stop(session)`, ends them with what is there.

        Raises:
            ModelError: a column's model is not loaded, the page is being answered already, or was stopped while it
                waited for its turn.
            Left: the page has turned away.
        """
        if self.status.state != "ready":
            raise ModelError("no model is loaded; choose one and load it first.")
        if self.answering(session):
            raise ModelError("an answer is under way; wait for its end, or stop it.")
        running = self._replies[session] = []
        try:
            with self.wait_for_turn(lambda: session in self._left_sessions or session in self._stopped_sessions):
                for column in columns:
                    running.append(self._reply(column, sampling))
                if session in self._stopped_sessions:  # while they were begun
                    self.stop(session)
                for answers in stream_answers(running, columns):
                    if session in self._left_sessions:
                        raise PageLeft
                    yield answers
        except PageLeft:
            if session in self._left_sessions:
                raise
            raise ModelError("stopped before its turn came; send it again when you like.") from None
        finally:
            self._replies.pop(session, None)
            self._left_sessions.discard(session)
            self._stopped_sessions.discard(session)
            for reply in running:
                reply.close()

    def stop(self, session: str) -> None:
        """End the answers of one page with what is there."""
        if self.answering(session):
            self._stopped_sessions.add(session)
        for reply in self._replies.get(session, []):
            reply.cancel()

    def leave(self, session: str) -> None:
        """End the answers of a page that shows another conversation now; returns once it gets none any more."""
        if not self.answering(session):
            return
        self._left_sessions.add(session)
        self.stop(session)
        until = time.monotonic() + _LEAVE_SECONDS
        while self.answering(session) and time.monotonic() < until:
            time.sleep(0.01)

    def answering(self, session: str) -> bool:
        """Whether answers for this page are under way."""
        return session in self._replies

    def resident(self, name: str) -> tuple[str, bool]:
        """Which loaded model answers as `name`, and whether with its adapter: a base answers in the form of the one
        it is compared with.

        Raises:
            ModelError: none does.
        """
        now = self.status
        if now.state == "ready" and name in self._engine.models:
            return name, True
        if name and name in now.names and name == now.base:
            return now.model, False
        loaded = " and ".join(now.names) or "no model"
        raise ModelError(f"{name!r} is not loaded; {loaded} is. Choose it and press Load.")

    def context_length(self, name: str) -> int:
        """Most tokens that a conversation with `name` can have, the answer included."""
        return self._engine.models[self.resident(name)[0]].context_length

    def sampling(self, name: str) -> Sampling:
        """What the makers of `name` recommend."""
        return self._engine.models[self.resident(name)[0]].sampling

    def _reply(self, column: AnswerRequest, sampling: Sampling) -> ChatReply:
        label, tuned = self.resident(column.model or self.status.model)
        prefix_ids = column.partial_answer.ids if column.partial_answer else ()
        return self._engine.chat(column.messages, sampling, tuned, model=label, prefix_ids=prefix_ids)

    def _load(self, model: str, base: str, compare_with: str) -> None:
        ready = ChatStatus("ready", model, base=base, compare_with=compare_with)
        try:
            for step in self._load_steps(model, compare_with):
                self._status = replace(self._status, step=step)
        except Exception as error:  # whatever an engine's library raises: the page must say so, and not wait for ever
            said = str(error) if isinstance(error, CamelidError) else f"{type(error).__name__}: {error}"
            left = self._engine.alive and model in self._engine.models
            self._status = (
                replace(ready, compare_with="", error=said) if left else ChatStatus("failed", model, error=said)
            )
        else:
            self._status = replace(ready, seconds=time.monotonic() - self._load_started)

    def _load_steps(self, model: str, compare_with: str) -> Iterator[str]:
        """What stays is not loaded again, and answers as long as another joins it."""
        resident = self._engine.models if self._engine.alive else {}
        if not compare_with or model not in resident:
            yield from self._engine.load_all({name: name for name in (model, compare_with) if name})
            return
        for name in set(resident) - {model, compare_with}:
            self._engine.remove(name)
        if compare_with not in resident:
            yield f"Loading {compare_with}"
            self._engine.add(compare_with, compare_with)
