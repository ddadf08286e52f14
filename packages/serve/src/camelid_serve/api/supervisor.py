"""Supervises the engine process: starts it, sends it requests, and restarts it when it dies or stalls.

Knows its lifecycle. Knows nothing of HTTP and of the requests' content. Used in one event loop; the process's events
come in on another thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Any

from camelid_core.errors import CamelidError, ModelError, UsageError

from camelid_serve.config import DEFAULT_ENGINE, EngineConfig
from camelid_serve.engine import NotFinite
from camelid_serve.engine_process.client import EngineProcess
from camelid_serve.engine_process.messages import LoadedModelInfo, error_message

from .limits import RESTARTS, RESTARTS_WITHIN

log = logging.getLogger("camelid.api")

_POLL_SECONDS = 0.25
_CHARACTERS_PER_SECOND = 100
_TOKENS_PER_SECOND = 25
"""What a prompt is granted while it is only known as text, and once its tokens are counted."""
FRESH_SECONDS = 30.0
_PROBE_SECONDS = 5.0
_FINAL_EVENTS = ("done", "error")


@dataclass(frozen=True, slots=True)
class ServedModels:
    """The models to serve: label → name of a model or artefact, and the engine's settings."""

    models: Mapping[str, str]
    how: EngineConfig = DEFAULT_ENGINE


class EngineCall:
    """One running request: `next` gives its events. `ended` is done when the engine process has ended it."""

    def __init__(self, supervisor: EngineSupervisor, weight: int) -> None:
        self.weight = weight
        self.ended = supervisor.loop.create_future()
        self.number = 0
        self.prefill_seconds = 0.0
        """Seconds that its prefill may take; 0 once it has an event."""
        self._supervisor = supervisor
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def put(self, event: dict[str, Any]) -> None:
        """Called on the thread that reads the pipe."""
        with suppress(RuntimeError):  # the loop is closed: nobody reads events any more
            self._supervisor.loop.call_soon_threadsafe(self.take, event)

    def take(self, event: dict[str, Any]) -> None:
        self._supervisor.on_event(self, event)
        if event["event"] != "prefill":  # for the supervisor alone
            self._events.put_nowait(event)
        if event["event"] in _FINAL_EVENTS and not self.ended.done():
            self.ended.set_result(None)

    async def next(self) -> dict[str, Any]:
        return await self._events.get()

    @property
    def waiting(self) -> bool:
        """Whether more events are here already."""
        return not self._events.empty()

    def cancel(self) -> None:
        self._supervisor.cancel(self)


class EngineSupervisor:
    """`models` are the served ones by label, `added` those of them that were loaded while it ran; `state` is loading,
    ready, restarting or failed."""

    def __init__(self, served: ServedModels, process: EngineProcess, stall_seconds: float) -> None:
        self.served = served
        self.models: dict[str, LoadedModelInfo] = {}
        self.added: dict[str, str] = {}
        self.state = "loading"
        self.why = "the model is being loaded."
        self.calls: set[EngineCall] = set()
        self.restarted: Callable[[], None] = lambda: None
        self.finished: Callable[[Mapping[str, Any]], None] = lambda done: None
        self._process = process
        self._stall_seconds = stall_seconds
        self._last_event_at = self._last_token_at = float("-inf")
        self._exit_times: deque[float] = deque(maxlen=RESTARTS + 1)
        self._outbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._writer = Thread(target=self._write, daemon=True, name="engine requests")
        self._probing: asyncio.Task[bool] | None = None
        self._wanted = dict(served.models)
        self.changing = asyncio.Lock()

    @property
    def wanted(self) -> Mapping[str, str]:
        """Label → name of what is or will be served."""
        return self._wanted | self.added

    @property
    def alive(self) -> bool:
        return self.state == "ready" and self._process.alive

    async def run(self, started: Callable[[CamelidError | None], None]) -> None:
        """Load the models, call `started`, and watch until cancelled. If the first load fails, it ends."""
        self.loop = asyncio.get_running_loop()
        self._writer.start()
        try:
            await asyncio.to_thread(self._load)
        except Exception as error:
            self.state, self.why = "failed", "the model cannot be loaded; see the log."
            started(error if isinstance(error, CamelidError) else ModelError(f"the model cannot be loaded: {error!r}"))
            return
        started(None)
        while self.state != "failed":
            await asyncio.sleep(_POLL_SECONDS)
            if self._process.alive and self._silent_seconds() > self._allowed_silence():
                log.error(
                    "no word from the engine for %.0f s; it is ended and started again. Raise --stall-seconds if its "
                    "machine is slow",
                    self._silent_seconds(),
                )
                self._process.kill()
            if not self._process.alive or self.state == "restarting":
                await self._restart()

    def submit(self, request: dict[str, Any], weight: int, characters: int = 0) -> EngineCall:
        """Start a request with the fields of `CompleteCommand`. An error comes as its last event."""
        call = EngineCall(self, weight)
        if not self.calls:
            self._last_event_at = time.monotonic()
        call.prefill_seconds = characters / _CHARACTERS_PER_SECOND
        self.calls.add(call)
        self._outbox.put(lambda: self._send(call, request))
        return call

    def cancel(self, call: EngineCall) -> None:
        self._outbox.put(lambda: self._process.cancel(call.number))

    async def add(self, label: str, name: str) -> None:
        """Serve one more adapter of a served base; the caller holds `changing`.

        Raises:
            CamelidError: it cannot be; or the process has ended.
        """
        await asyncio.to_thread(self._process.add, label, name, share=True)
        self.added[label] = name
        self.models = dict(self._process.models)

    async def remove(self, label: str) -> None:
        """Stop serving a model; the caller holds `changing`.

        Raises:
            CamelidError: there is none of that label, or no other on its base; or the process has ended.
        """
        await asyncio.to_thread(self._process.remove, label, share=True)
        self.added.pop(label, None)
        self._wanted.pop(label, None)
        self.models = dict(self._process.models)

    def on_event(self, call: EngineCall, event: Mapping[str, Any]) -> None:
        now = self._last_event_at = time.monotonic()
        if event["event"] == "prefill":
            call.prefill_seconds = event["tokens"] / _TOKENS_PER_SECOND
        if event["event"] in ("delta", "alive", "done"):
            self._last_token_at = now
            call.prefill_seconds = 0.0
        if event["event"] in _FINAL_EVENTS:
            self.calls.discard(call)
        if event["event"] == "done":
            self.finished(event)

    async def ready(self) -> bool:
        """Whether a token was generated in the last 30 seconds, or is now."""
        if not self.alive:
            return False
        if time.monotonic() - self._last_token_at < FRESH_SECONDS:
            return True
        if self._probing is None:
            self._probing = asyncio.ensure_future(self._probe())
            self._probing.add_done_callback(lambda _: setattr(self, "_probing", None))
        return await asyncio.shield(self._probing)

    async def close(self) -> None:
        self._outbox.put(None)
        await asyncio.to_thread(self._process.close)

    async def _probe(self) -> bool:
        sampling = {"max_new_tokens": 1}
        probe = {
            "model": next(iter(self.models)),
            "messages": [{"role": "user", "content": "Hi"}],
            "sampling": sampling,
        }
        call = self.submit(probe, 0)
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                while (event := await call.next())["event"] not in _FINAL_EVENTS:
                    pass
        except TimeoutError:
            call.cancel()
            return False
        self.why = event["message"] if event.get("type") == NotFinite.__name__ else ""
        return bool(event["event"] == "done")

    def _silent_seconds(self) -> float:
        return time.monotonic() - self._last_event_at if self.calls else 0.0

    def _allowed_silence(self) -> float:
        return self._stall_seconds + sum(call.prefill_seconds for call in self.calls)

    async def _restart(self) -> None:
        self.state, self.why = "restarting", "the engine is being started again."
        now = time.monotonic()
        self._exit_times.append(now)
        if len(self._exit_times) > RESTARTS and now - self._exit_times[0] < RESTARTS_WITHIN:
            self.state = "failed"
            self.why = f"the engine ended {RESTARTS + 1} times in {RESTARTS_WITHIN / 60:.0f} minutes; see the log."
            log.error(self.why)
            return
        self.restarted()
        try:
            async with self.changing:
                await asyncio.to_thread(self._load)
        except Exception as error:
            log.error("the engine cannot be started again: %s", error)

    def _load(self) -> None:
        """Load the models from the start, and the added adapters as far as they can still be loaded."""
        for progress in self._process.load_all(self._wanted, self.served.how):
            if not progress.file:
                log.info(progress.text)
        for label, name in tuple(self.added.items()):
            try:
                self._process.add(label, name, share=True)
            except CamelidError as error:
                log.error("adapter %r is served no more: %s", label, error)
                del self.added[label]
        self.models = dict(self._process.models)
        self._last_event_at = time.monotonic()
        self._last_token_at = float("-inf")  # a model that is loaded has not answered yet
        self.state, self.why = "ready", ""

    def _send(self, call: EngineCall, request: dict[str, Any]) -> None:
        try:
            call.number = self._process.complete(request, call)
        except CamelidError as error:
            call.put(error_message(error))

    def _write(self) -> None:
        """Requests are written on a thread: a full pipe must not block the event loop."""
        while (action := self._outbox.get()) is not None:
            action()


def split_label(name: str) -> tuple[str, str]:
    """`label=name`, or a name whose last part is its label."""
    label, equals, target = name.partition("=")
    if equals and label and "/" not in label:
        return label, target
    return name.rstrip("/").rpartition("/")[2] if name.startswith(("/", ".", "~")) else name, name


def models_by_label(names: list[str]) -> dict[str, str]:
    """Label → name.

    Raises:
        UsageError: two have one label.
    """
    models: dict[str, str] = {}
    for label, name in map(split_label, names):
        if label in models:
            raise UsageError(f"two models are called {label!r}; give one another label: other={name}.")
        models[label] = name
    return models
