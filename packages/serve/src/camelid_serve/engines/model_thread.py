"""The thread that owns a model: it takes requests from a queue, runs steps, and other calls between two steps.

Knows threads and queues. Knows nothing of models, and not what a step does. Streams are queues that the thread writes
to. Whatever happens, every request gets an end or an error.
"""

from __future__ import annotations

import atexit
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Sequence
from queue import SimpleQueue
from typing import Generic, TypeVar

import torch
from camelid_core.errors import ModelError

from camelid_serve.engine import PromptTooLong, Request

from .decode_batch import DecodeRow
from .token_stream import Events, Ticket, TokenStream, fail

T = TypeVar("T")
TicketT = TypeVar("TicketT", bound=Ticket)


class ModelThread(ABC, Generic[TicketT]):
    """`_waiting` is the queue of requests that no step has admitted yet; other threads add to it, so it is used under
    `_condition` alone."""

    context_length: int
    _ticket: type[TicketT]

    def __init__(self, name: str) -> None:
        self._waiting: deque[TicketT] = deque()
        self._condition = threading.Condition()
        self._calls: deque[Callable[[], None]] = deque()
        self._closed = False
        self._thread = threading.Thread(target=self._run, daemon=True, name=name)

    @abstractmethod
    def _check(self, request: Request) -> None:
        """Raises ModelError where the request cannot be answered here; its length is checked elsewhere."""

    @abstractmethod
    def _step(self) -> None:
        """Continue all running requests, and admit waiting ones as far as there are free slots. An error goes to the
        streams of the requests that it concerns."""

    @abstractmethod
    def _running_tickets(self) -> Collection[TicketT]:
        """Requests that steps have admitted and not finished."""

    @abstractmethod
    def _unload(self) -> None:
        """Free the model: the thread ends."""

    @property
    def alive(self) -> bool:
        return not self._closed

    def stream(self, requests: Sequence[Request]) -> TokenStream:
        events: Events = SimpleQueue()
        with self._condition:
            self._check_all(requests)
            rows = [DecodeRow(request, self._limit(request)) for request in requests]
            self._waiting += [self._ticket(row, index, events) for index, row in enumerate(rows)]
            self._condition.notify()
        return TokenStream(rows, events, self._notify)

    def close(self) -> None:
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join()
        atexit.unregister(self.close)

    def _start(self) -> None:
        self._thread.start()
        atexit.register(self.close)  # torch aborts the process if the interpreter goes while it computes

    def _check_open(self) -> None:
        if self._closed:
            raise ModelError("the model was unloaded; load it again.")

    def _check_all(self, requests: Sequence[Request], room: int = 1) -> None:
        """Refuse requests that cannot be answered here, or leave no `room` for so many tokens of an answer."""
        with self._condition:
            self._check_open()
            for request in requests:
                self._check(request)
                if not request.ids:
                    raise ModelError("the prompt is empty; it needs at least one token.")
                if len(request.ids) + room > self.context_length:
                    raise PromptTooLong(len(request.ids), self.context_length)

    def _limit(self, request: Request) -> int:
        return min(request.sampling.max_new_tokens, self.context_length - len(request.ids))

    def _notify(self) -> None:
        with self._condition:
            self._condition.notify()

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._wait_for_work():
                    self._run_calls()
                    self._drop_cancelled()
                    self._step()
        finally:  # whatever happened, no stream waits for ever
            with self._condition:
                self._closed = True
            self._run_calls()
            unloaded = ModelError("the model was unloaded before the answer was complete.")
            fail((*self._running_tickets(), *self._waiting), unloaded)
            self._waiting.clear()
            self._unload()

    def _wait_for_work(self) -> bool:
        with self._condition:
            while not (self._closed or self._waiting or self._calls or self._running_tickets()):
                self._condition.wait()
            return not self._closed

    def _call_between_steps(self, call: Callable[[], T]) -> T:
        """Run `call` on the thread that owns the model, between two steps, and wait for its result."""
        done: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

        def run() -> None:
            try:
                done.put((call(), None))
            except BaseException as error:
                done.put((None, error))

        with self._condition:
            self._check_open()
            self._calls.append(run)
            self._condition.notify()
        result, error = done.get()
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

    def _run_calls(self) -> None:
        for _ in range(len(self._calls)):  # those that come meanwhile wait for a step: there may always be one more
            self._calls.popleft()()

    def _drop_cancelled(self) -> None:
        """End requests that were cancelled while they waited."""
        with self._condition:
            dropped = [ticket for ticket in self._waiting if ticket.row.cancelled]
            if dropped:
                self._waiting = deque(ticket for ticket in self._waiting if not ticket.row.cancelled)
        for ticket in dropped:
            ticket.row.finish = "cancelled"
            ticket.emit(None)
