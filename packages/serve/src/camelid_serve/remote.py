"""A model in a process of its own, for programs that must never hold one: the web server above all.

Knows the child's life and its pipes. Knows no torch and no text beyond what it passes on.
Every method may be called from any thread. If the child dies, what waits on it gets a sentence,
and the next `load` starts another.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Protocol, Self

from camelid_core.errors import CamelidError, ModelError
from camelid_core.jobs.executors import child_environment
from camelid_core.records import Message

from .config import Dtype
from .engine import Sampling
from .wire import Loaded, to_error

_CLOSE_SECONDS = 5.0
_LAST = ("loaded", "done", "error")


@dataclass(frozen=True, slots=True)
class ChatEvent:
    """New text; the last event has the whole `answer` and the `facts` about it
    (finish, tokens, prompt_tokens, seconds, first_token, tokens_per_second)."""

    text: str = ""
    answer: str = ""
    facts: dict[str, Any] | None = None


class Sink(Protocol):
    """Takes what comes back, on a thread of the pipe: it must neither wait nor raise."""

    def put(self, event: dict[str, Any], /) -> None: ...


class Reply:
    """One answer as it comes. Iterate it; `cancel` ends it with what is there; leaving or closing it cancels too."""

    def __init__(self, process: EngineProcess, number: int, events: SimpleQueue[dict[str, Any]]) -> None:
        self.id = number
        self._process = process
        self._events = events
        self._ended = False

    def __iter__(self) -> Iterator[ChatEvent]:
        return self

    def __next__(self) -> ChatEvent:
        if self._ended:
            raise StopIteration
        event = self._events.get()
        if event["event"] == "delta":
            return ChatEvent(event["text"])
        self._ended = True
        if event["event"] == "error":
            raise to_error(event)
        return ChatEvent(answer=event["answer"], facts=event["facts"])

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

    def __init__(self, module: str = "camelid_serve.host") -> None:
        self.models: dict[str, Loaded] = {}
        self._module = module
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._child: _Child | None = None

    @property
    def loaded(self) -> Loaded | None:
        return next(iter(self.models.values()), None)

    @property
    def alive(self) -> bool:
        child = self._child
        return child is not None and child.alive

    def load(self, model: str, template: str = "", dtype: Dtype = "auto", slots: int = 8) -> Iterator[str]:
        """Make `model` the resident one; yields what is being done. Done when it ends.

        Raises:
            CamelidError: as `assemble` does; nothing is loaded then.
        """
        return self._load(model=model, template=template, dtype=dtype, slots=slots)

    def load_all(
        self, models: Mapping[str, str], template: str = "", dtype: Dtype = "auto", slots: int = 8, engine: str = ""
    ) -> Iterator[str]:
        """Make these the resident ones, label by label, as `load` does one."""
        return self._load(
            models=dict(models), template=template, dtype=dtype, slots=slots, engine=engine or "transformers"
        )

    def _load(self, **wanted: Any) -> Iterator[str]:
        events: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._send("load", events, start=True, **wanted)
        self.models = {}
        while True:
            event = events.get()
            if event["event"] == "progress":
                yield event["text"]
                continue
            if event["event"] == "error":
                raise to_error(event)
            self.models = {label: Loaded.model_validate(each) for label, each in event["loaded"].items()}
            return

    def chat(
        self,
        messages: Sequence[Message],
        sampling: Sampling | None = None,
        tuned: bool = True,
        template: str = "",
    ) -> Reply:
        """Answer a conversation that ends with the user's message. `tuned` False switches the adapter off.

        Raises:
            ModelError: no model is loaded. Other errors come while iterating.
        """
        turns = [{"role": turn.role, "content": turn.content, "context": turn.context} for turn in messages]
        settings = sampling.model_dump(mode="json") if sampling else None
        events: SimpleQueue[dict[str, Any]] = SimpleQueue()
        number = self._send("chat", events, messages=turns, sampling=settings, tuned=tuned, template=template)
        return Reply(self, number, events)

    def complete(self, request: Mapping[str, Any], sink: Sink) -> int:
        """Start on a request of `wire.Complete`'s form; the events go to `sink`. Gives what `cancel` takes.

        Raises:
            ModelError: no model is loaded, or its process has ended.
        """
        return self._send("complete", sink, **request)

    def cancel(self, number: int) -> None:
        """End reply `number` with what is there; harmless when it has ended."""
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
        """End the process at once, as one does that no longer answers; who waits on it is told."""
        child = self._child
        if child is not None:
            child.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _send(self, operation: str, sink: Sink, start: bool = False, **values: Any) -> int:
        with self._lock:
            if start and not self.alive:
                self._child = _Child(self._module)
            child = self._child
            number = next(self._numbers)
        if child is None:
            raise ModelError("no model is loaded; load one first.")
        child.ask({"id": number, "op": operation, **values}, sink)
        return number


class _Child:
    """One life of the process: pipes, and who waits for which answer."""

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment(os.environ),
            start_new_session=True,
            encoding="utf-8",
            errors="replace",
        )
        self._lock = threading.Lock()
        self._writing = threading.Lock()  # apart: a long prompt on its way in holds up nothing that comes out
        self._waiting: dict[int, Sink] = {}
        self._last_words: deque[str] = deque(maxlen=20)
        self._listener = threading.Thread(target=self._log, daemon=True, name="engine log")
        self._reader = threading.Thread(target=self._read, daemon=True, name="engine events")
        self._listener.start()
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: dict[str, Any], sink: Sink) -> None:
        with self._lock:
            self._waiting[request["id"]] = sink
        try:
            self.send(request)
        except ModelError:
            with self._lock:
                told = self._waiting.pop(request["id"], None) is None
            if not told:
                raise

    def send(self, request: dict[str, Any]) -> None:
        line = json.dumps(request) + "\n"
        stdin = self._process.stdin
        try:
            with self._writing:
                stdin.write(line)  # type: ignore[union-attr]
                stdin.flush()  # type: ignore[union-attr]
        except (OSError, ValueError):
            raise ModelError(self._obituary()) from None

    def kill(self) -> None:
        if self.alive:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        with self._writing:
            self._close_stdin()
        try:
            self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        for thread in (self._reader, self._listener):
            thread.join()

    def _read(self) -> None:
        with self._process.stdout as lines:  # type: ignore[union-attr]
            for line in lines:
                self._deliver(json.loads(line))
        self._bury()

    def _deliver(self, event: dict[str, Any]) -> None:
        with self._lock:
            events = self._waiting.get(event["id"])
            if event["event"] in _LAST:
                self._waiting.pop(event["id"], None)
        if events is not None:
            events.put(event)

    def _bury(self) -> None:
        """The child is gone: tell everyone who still waits."""
        self._process.wait()
        self._listener.join(1)
        with self._writing:
            self._close_stdin()
        with self._lock:
            waiting, self._waiting = list(self._waiting.values()), {}
        for events in waiting:
            events.put({"event": "error", "type": "ModelError", "message": self._obituary()})

    def _close_stdin(self) -> None:
        with suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]

    def _log(self) -> None:
        with self._process.stderr as lines:  # type: ignore[union-attr]
            for line in lines:
                if line.strip():
                    self._last_words.append(line.strip())

    def _obituary(self) -> str:
        code = self._process.poll()
        if code == -signal.SIGKILL:
            why = "it was killed, most often because memory ran out"
        elif code is not None and code < 0:
            why = f"signal {-code}"
        else:
            why = self._last_words[-1] if self._last_words else f"exit code {code}"
        return f"the model's process ended ({why}); load the model again."
