"""The client of the engine process, for programs that must never load a model themselves: the web servers above all.

Knows its commands, and starts it when needed. Knows no torch and no text beyond what it passes on.
Every method may be called from any thread. If the process dies, open requests get an error, and the next `load_all`
starts another.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Self

from camelid_core.errors import CamelidError, ModelError
from camelid_core.records import Message

from camelid_serve.answers import AnswerDelta, AnswerStats
from camelid_serve.config import EngineConfig
from camelid_serve.engine import Sampling

from .child_process import ChildProcess, EventSink
from .messages import LoadedModelInfo, LoadProgress, to_error

_INTERACTIVE = EngineConfig(slots=8)
"""For a person who chats: few requests at once."""


class ChatReply:
    """One streamed answer. Iterate it; `cancel` ends it with the text so far; leaving or closing it cancels too."""

    def __init__(self, process: EngineProcess, number: int, events: SimpleQueue[dict[str, Any]]) -> None:
        self.id = number
        self._process = process
        self._events = events
        self._ended = False

    def __iter__(self) -> Iterator[AnswerDelta]:
        return self

    def __next__(self) -> AnswerDelta:
        if self._ended:
            raise StopIteration
        event = self._events.get()
        if event["event"] == "delta":
            return AnswerDelta(0, event["text"])
        self._ended = True
        if event["event"] == "error":
            raise to_error(event)
        stats = AnswerStats.from_json(event["facts"])
        return AnswerDelta(0, "", event["answer"], stats, ids=tuple(event["ids"]))

    def cancel(self) -> None:
        self._process.cancel(self.id)

    def close(self) -> None:
        if not self._ended:
            self.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class EngineProcess:
    """`models` says what is resident under which label, `loaded` is the first of them, None if nothing is.
    `module` is the program that holds them."""

    def __init__(self, module: str = "camelid_serve.engine_process.host") -> None:
        self.models: dict[str, LoadedModelInfo] = {}
        self._module = module
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._child: ChildProcess | None = None

    @property
    def loaded(self) -> LoadedModelInfo | None:
        return next(iter(self.models.values()), None)

    @property
    def alive(self) -> bool:
        child = self._child
        return child is not None and child.alive

    def load_all(self, models: Mapping[str, str], how: EngineConfig = _INTERACTIVE) -> Iterator[LoadProgress]:
        """Make these models the resident ones, by label; yields its progress, and is done when it ends.

        What is loaded already stays: for another adapter of a resident base that adapter alone is loaded, and running
        requests on the base are completed.

        Raises:
            CamelidError: as `load_model` does; nothing is loaded then.
        """
        return self._load("load", models=dict(models), how=how.model_dump(mode="json"))

    def add(
        self,
        label: str,
        model: str,
        template: str = "",
        share: bool = False,
        report: Callable[[LoadProgress], None] = lambda progress: None,
    ) -> LoadedModelInfo:
        """Make one more model resident beside the others, and wait for it. An adapter of a resident base shares it;
        another model has an engine of its own, unless it must `share`.

        Raises:
            UsageError: the label is taken.
            CamelidError: as `load_model` does. What was there is there still.
        """
        for progress in self._load("add", label=label, model=model, template=template, share=share):
            report(progress)
        return self.models[label]

    def remove(self, label: str, share: bool = False) -> None:
        """Unload a model. Under an adapter whose base stays, running requests end first; others end with an error,
        unless it must `share` its base with one that stays. Then its memory is free.

        Raises:
            CamelidError: there is none of that label; or it must share its base and does not.
        """
        for _ in self._load("remove", start=False, label=label, share=share):
            pass

    def _load(self, operation: str, start: bool = True, **wanted: Any) -> Iterator[LoadProgress]:
        events: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._send(operation, events, start=start, **wanted)
        if operation == "load":
            self.models = {}
        while True:
            event = events.get()
            if event["event"] == "progress":
                yield LoadProgress.model_validate(event)
                continue
            if event["event"] == "error":
                raise to_error(event)
            with self._lock:
                if self._child is not None:  # else it was closed meanwhile
                    self.models = {
                        label: LoadedModelInfo.model_validate(each) for label, each in event["loaded"].items()
                    }
            return

    def chat(
        self,
        messages: Sequence[Message],
        sampling: Sampling | None = None,
        tuned: bool = True,
        template: str = "",
        model: str = "",
        prefix_ids: Sequence[int] = (),
    ) -> ChatReply:
        """Answer a conversation that ends with the user's message, or continue the answer that it ends with, whose
        tokens are `prefix_ids`. `tuned` False switches the adapter off; `model` is a label, empty for the first.

        Raises:
            ModelError: no model is loaded. Other errors come while iterating.
        """
        wanted: dict[str, Any] = {
            "messages": [{"role": turn.role, "content": turn.content, "context": turn.context} for turn in messages],
            "sampling": sampling.model_dump(mode="json") if sampling else None,
            "tuned": tuned,
            "template": template,
            "model": model,
            "begun": list(prefix_ids),
        }
        events: SimpleQueue[dict[str, Any]] = SimpleQueue()
        return ChatReply(self, self._send("chat", events, **wanted), events)

    def complete(self, request: Mapping[str, Any], sink: EventSink) -> int:
        """Start a request with the fields of `CompleteCommand`; its events go to `sink`. Returns what `cancel` takes.

        Raises:
            ModelError: no model is loaded, or its process has ended.
        """
        return self._send("complete", sink, **request)

    def cancel(self, number: int) -> None:
        """End request `number` with the tokens so far; harmless when it has ended."""
        child = self._child
        if child is not None:
            with suppress(CamelidError):
                child.send({"id": number, "op": "cancel"})

    def close(self) -> None:
        """End the process and free the model."""
        with self._lock:
            child, self._child, self.models = self._child, None, {}
        if child is not None:
            child.end()

    def kill(self) -> None:
        """End the process at once, for one that no longer answers; open requests get an error."""
        child = self._child
        if child is not None:
            child.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _send(self, operation: str, sink: EventSink, start: bool = False, **values: Any) -> int:
        with self._lock:
            if start and not self.alive:
                self._child, self.models = ChildProcess(self._module), {}
            child = self._child
            number = next(self._numbers)
        if child is None:
            raise ModelError("no model is loaded; load one first.")
        child.submit({"id": number, "op": operation, **values}, sink)
        return number
