"""Chat with models: one resident engine in a process of its own, shared by all pages.

Knows loading, generating and stopping. Knows nothing of how conversations look. No model is ever loaded in this
process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Literal

from camelid_core.errors import CamelidError, ModelError
from camelid_core.plugin_faults import error_sentence
from camelid_serve.engine import Sampling
from camelid_serve.engine_process.client import ChatReply, EngineProcess
from camelid_serve.engine_process.messages import LoadProgress

from .memory_check import check_memory
from .models import ModelService
from .streaming_answers import Answer, AnswerRequest, stream_answers

_LEAVE_SECONDS = 30.0
"""A page that leaves its answers waits this long for their end: an update that is still on its way would cover what it
shows next. An engine that is given up on ends sooner; on a busy machine one step takes seconds."""
_POLL_SECONDS = 0.1
"""A question that waits for its model looks this often whether it is loaded."""

LoadState = Literal["empty", "loading", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class ChatStatus:
    """What is loaded: `model`, its base model `base` where it is an adapter, and another model to `compare_with`.
    `progress` says what loading is doing; `seconds` how long it takes or took. A `ready` one has an `error` where
    `compare_with` could not be loaded."""

    state: LoadState = "empty"
    model: str = ""
    progress: LoadProgress = field(default_factory=LoadProgress)
    seconds: float = 0.0
    error: str = ""
    base: str = ""
    compare_with: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Models that can answer."""
        return self.model_names if self.state == "ready" else ()

    @property
    def model_names(self) -> tuple[str, ...]:
        """Models whose files are in use, or will be."""
        found = (self.model, self.base, self.compare_with) if self.state in ("loading", "ready") else ()
        return tuple(name for name in found if name)


class PageLeft(Exception):
    """The page shows another conversation and no longer wants the answers it requested."""


WaitForTurn = Callable[[Callable[[], bool]], AbstractContextManager[None]]
"""Where a request waits for its turn. It is given a function that says whether the request was cancelled, and then
raises PageLeft."""


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
        """Begin to load `model`, and `compare_with` too unless it is the base of `model`, which is loaded anyway; all
        other models are unloaded. `status` reports progress.

        Raises:
            CamelidError: there is no such model, the memory does not hold two, or others are being loaded.
        """
        if not model:
            raise ModelError("no model is chosen; choose one above the conversation.")
        base = self.models.base_of(model)
        if compare_with:
            self.models.resolve(compare_with)
        if compare_with == model:
            raise ModelError(f"{model!r} is on both sides; choose another model to compare it with.")
        compare_with = "" if compare_with == base else compare_with
        with self._lock:
            now = self.status
            if now.state == "loading":
                if now.model == model and compare_with in ("", now.compare_with):
                    return
                raise ModelError(f"{now.model!r} is being loaded; wait for it.")
            if now.state == "ready" and now.model == model and (not compare_with or now.compare_with == compare_with):
                self._status = replace(now, error="")
                return
            if compare_with:
                check_memory(self.models, [model, compare_with], list(self._engine.models))
            self._load_started = time.monotonic()
            first = LoadProgress(text="" if self._engine.alive else "Starting its process")
            self._status = ChatStatus("loading", model, base=base, compare_with=compare_with, progress=first)
        threading.Thread(target=self._load, args=(model, base, compare_with), name="load model", daemon=True).start()

    def close(self) -> None:
        """End the engine's process."""
        self._engine.close()
        self._status = ChatStatus()

    def ask(
        self, session: str, requests: Sequence[AnswerRequest], sampling: Sampling, models: Sequence[str] = ()
    ) -> Iterator[list[Answer]]:
        """Streaming answers, one per request. `models`, as `load` takes them, are loaded first where they are not.

        Closing the iterator, or `stop(session)`, ends them with the text so far.

        Raises:
            CamelidError: a request's model is not loaded or cannot be, the page is being answered already, or was
                stopped before an answer began.
            PageLeft: the page shows another conversation.
        """
        if self.answering(session):
            raise ModelError("an answer is being generated; wait for its end, or stop it.")
        replies = self._replies[session] = []
        try:
            self._bring(session, *models or (self.status.model,))
            with self.wait_for_turn(lambda: self._gone(session)):
                for request in requests:
                    replies.append(self._reply(request, sampling))
                if session in self._stopped_sessions:  # while they were being started
                    self.stop(session)
                for answers in stream_answers(replies, requests):
                    if session in self._left_sessions:
                        raise PageLeft
                    yield answers
        except PageLeft:
            if session in self._left_sessions:
                raise
            raise ModelError("stopped before an answer began; send it again when you like.") from None
        finally:
            self._replies.pop(session, None)
            self._left_sessions.discard(session)
            self._stopped_sessions.discard(session)
            for reply in replies:
                reply.close()

    def stop(self, session: str) -> None:
        """End the answers of one page with the text so far."""
        if self.answering(session):
            self._stopped_sessions.add(session)
        for reply in self._replies.get(session, []):
            reply.cancel()

    def leave(self, session: str) -> None:
        """End the answers of a page that shows another conversation now; returns once they have ended."""
        if not self.answering(session):
            return
        self._left_sessions.add(session)
        self.stop(session)
        until = time.monotonic() + _LEAVE_SECONDS
        while self.answering(session) and time.monotonic() < until:
            time.sleep(0.01)

    def answering(self, session: str) -> bool:
        """Whether answers for this page are being generated."""
        return session in self._replies

    def has_loaded(self, *models: str) -> bool:
        """Whether all of them can answer; an empty name is none."""
        return {*models} - {""} <= {*self.status.names}

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
        """Context length of `name` in tokens, the answer included."""
        return self._engine.models[self.resident(name)[0]].context_length

    def sampling(self, name: str) -> Sampling:
        """The sampling settings that the makers of `name` recommend."""
        return self._engine.models[self.resident(name)[0]].sampling

    def _bring(self, session: str, model: str, compare_with: str = "") -> None:
        """Load what is not loaded, and wait until it is.

        Raises:
            CamelidError: it cannot be loaded, others are being loaded, or what is loaded is answering another page.
            PageLeft: the request was cancelled; loading goes on.
        """
        if model and self.has_loaded(model, compare_with):
            return
        loaded = " and ".join(self.status.names)
        if loaded and any(replies for other, replies in tuple(self._replies.items()) if other != session):
            raise ModelError(
                f"{loaded} is answering on another page, and would be unloaded for {model!r}; send it again when that "
                "has ended, or press Load."
            )
        self.load(model, compare_with)
        while self.status.state == "loading":
            if self._gone(session):
                raise PageLeft
            time.sleep(_POLL_SECONDS)
        missing = model if not self.has_loaded(model) else compare_with
        if not self.has_loaded(missing):
            why = self.status.error or f"another page loaded {self.status.model!r} meanwhile."
            raise ModelError(f"{missing!r} could not be loaded: {why}")

    def _gone(self, session: str) -> bool:
        """Whether a page no longer wants the answers it requested."""
        return session in self._left_sessions or session in self._stopped_sessions

    def _reply(self, request: AnswerRequest, sampling: Sampling) -> ChatReply:
        label, tuned = self.resident(request.model or self.status.model)
        prefix_ids = request.partial_answer.ids if request.partial_answer else ()
        return self._engine.chat(request.messages, sampling, tuned, model=label, prefix_ids=prefix_ids)

    def _load(self, model: str, base: str, compare_with: str) -> None:
        ready = ChatStatus("ready", model, base=base, compare_with=compare_with)
        try:
            self._load_each(model, compare_with)
        except (
            Exception,
            SystemExit,
        ) as error:  # whatever an engine's library raises: the page must show it, and not wait for ever
            message = str(error) if isinstance(error, CamelidError) else error_sentence(error)
            left = self._engine.alive and model in self._engine.models
            self._status = (
                replace(ready, compare_with="", error=message) if left else ChatStatus("failed", model, error=message)
            )
        else:
            self._status = replace(ready, seconds=time.monotonic() - self._load_started)

    def _load_each(self, model: str, compare_with: str) -> None:
        """A model that stays is not loaded again, and answers while another is added."""
        resident = self._engine.models if self._engine.alive else {}
        if not compare_with or model not in resident:
            for progress in self._engine.load_all({name: name for name in (model, compare_with) if name}):
                self._report(progress)
            return
        for name in set(resident) - {model, compare_with}:
            self._engine.remove(name)
        if compare_with not in resident:
            self._engine.add(compare_with, compare_with, report=self._report)

    def _report(self, progress: LoadProgress) -> None:
        self._status = replace(self._status, progress=progress)
