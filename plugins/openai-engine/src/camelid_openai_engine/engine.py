"""The engine over HTTP: token ids in, a stream of token ids out, each request on a connection of its own.

Knows requests, tickets and one thread with an event loop. Knows servers through `upstream` alone.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from camelid_core.errors import ModelError, UnknownName
from camelid_core.models.resolved_model import ResolvedModel
from camelid_serve.engine import FinishReason, PromptTooLong, Request, TokenEvent, TokenLogprob
from camelid_serve.engines.token_stream import Events, TokenStream

from .adapters import AdapterRegistry
from .flavours import Flavour
from .text_to_ids import ContinuationEncoder, StreamingEncoder, prompt_text, token_of
from .upstream import Upstream
from .wire_formats import WIRE_FORMATS, CompletionChunk, CompletionSpec

T = TypeVar("T")


class EventLoopThread:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="engine over HTTP")
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for `work`, from another thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def call_soon(self, action: Callable[..., Any], *arguments: Any) -> None:
        with suppress(RuntimeError):  # closed: nothing runs any more
            self._loop.call_soon_threadsafe(action, *arguments)

    def close(self) -> None:
        self.call_soon(self._loop.stop)
        self._thread.join()
        self._loop.close()


class HttpEngine:
    """`base` is the server's name for the base model, empty where it has it only with adapters; `prompt_as` says how
    prompts are sent: as token ids or as text."""

    def __init__(
        self,
        loop: EventLoopThread,
        upstream: Upstream,
        flavour: Flavour,
        base: str,
        tokenizer: Any,
        context_length: int,
        slots: int,
        registry: AdapterRegistry,
        prompt_as: str = "ids",
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self.context_length = context_length
        self._loop = loop
        self._upstream = upstream
        self._flavour = flavour
        self._wire_format = WIRE_FORMATS[flavour.wire_format]
        self._models: dict[str | None, str] = {None: base}
        self._tokenizer = tokenizer
        self._continuations = ContinuationEncoder(tokenizer)
        self._token_of = partial(token_of, tokenizer)
        self._registry = registry
        self._prompt_as = prompt_as
        self._on_close = on_close
        self._slots = asyncio.Semaphore(slots)
        self._tickets: set[_Ticket] = set()
        self._unloading: set[asyncio.Future[None]] = set()
        self._changing = threading.Lock()
        self._closed = False

    @property
    def adapters(self) -> tuple[str, ...]:
        return tuple(name for name in self._models if name is not None)

    @property
    def alive(self) -> bool:
        return self._upstream.alive

    @property
    def serves_base(self) -> bool:
        """Whether the server has the base model without an adapter, too."""
        return bool(self._models[None])

    def add_adapter(self, resolved: ResolvedModel) -> str:
        """One that the server lists, or loads now; returns its name here."""
        name, server_name = self._registry.add(resolved)
        self.name_adapter(name, server_name)
        return name

    def remove_adapter(self, name: str) -> None:
        """Have the server unload it, if we started the server: now, or when the running requests have ended. They are
        not waited for, as other adapters may be loaded and unloaded meanwhile."""
        with self._changing:
            if name not in self.adapters:
                raise UnknownName("adapter", name, self.adapters)
            self._models = {other: server_name for other, server_name in self._models.items() if other != name}
        self._loop.run(self._unload_adapter(name))

    def name_adapter(self, name: str, server_name: str) -> None:
        """Register an adapter of the server under our name for it."""
        with self._changing:
            self._models = {**self._models, name: server_name}

    def post(self, path: str, body: Mapping[str, str]) -> None:
        """Post a JSON body to the server."""
        self._loop.run(self._upstream.post(path, body))

    def why_not_batched(self, name: str) -> str:
        """The server makes the batches."""
        return ""

    def stream(self, requests: Sequence[Request]) -> HttpStream:
        events: Events = SimpleQueue()
        with self._changing:  # requests that start here are in the loop before an adapter is removed or all is closed
            if self._closed:
                raise ModelError("the model was unloaded; load it again.")
            bodies = [self._request_body(request) for request in requests]
            tickets = [_Ticket(*each, index, events) for index, each in enumerate(zip(requests, bodies, strict=True))]
            self._loop.call_soon(self._start_tasks, tickets)
        return HttpStream(tickets, events, lambda: self._loop.call_soon(_cancel_marked, tickets))

    def close(self) -> None:
        with self._changing:
            if self._closed:
                return
            self._closed = True
        self._loop.run(self._shut_down())
        self._loop.close()
        self._on_close()

    def _request_body(self, request: Request) -> dict[str, Any]:
        """The body of the HTTP request.

        Raises:
            ModelError: the server cannot answer such a request.
        """
        if request.adapter is not None and request.adapter not in self.adapters:
            raise UnknownName("adapter", request.adapter, self.adapters)
        if not self._models[request.adapter]:
            raise ModelError(f"{self._flavour.title} has this model with an adapter alone; serve its base there, too.")
        if not request.ids:
            raise ModelError("the prompt is empty; it needs at least one token.")
        if len(request.ids) >= self.context_length:
            raise PromptTooLong(len(request.ids), self.context_length)
        if request.logprobs is not None and self._flavour.with_logprobs is None:
            raise ModelError(f"{self._flavour.title} tells no token ids, so no probabilities; leave out logprobs.")
        model = self._models[request.adapter]
        prompt = request.ids if self._prompt_as == "ids" else prompt_text(self._tokenizer, request.ids)
        max_tokens = min(request.sampling.max_new_tokens, self.context_length - len(request.ids))
        spec = CompletionSpec(
            model, prompt, request.sampling, max_tokens, request.stops, request.logprobs, self.context_length
        )
        try:
            return self._wire_format.build_request(self._flavour, spec)
        except KeyError as error:
            raise ModelError(
                f"{self._flavour.title} has no setting {error.args[0]!r}; leave it off with this engine."
            ) from None

    def _start_tasks(self, tickets: Sequence[_Ticket]) -> None:
        for ticket in tickets:
            ticket.task = asyncio.ensure_future(self._answer(ticket))
            ticket.task.add_done_callback(partial(self._done, ticket))
            self._tickets.add(ticket)
            if ticket.cancelled:
                ticket.cancel()

    async def _answer(self, ticket: _Ticket) -> None:
        async with self._slots:
            encoder = StreamingEncoder(self._continuations, ticket.request.ids)
            chunks = self._upstream.answer(self._wire_format, ticket.body, self._token_of)
            async with aclosing(chunks):
                async for chunk in chunks:
                    if self._emit(ticket, chunk, encoder):
                        return
        raise ModelError("the server ended an answer before it was complete.")

    def _emit(self, ticket: _Ticket, chunk: CompletionChunk, encoder: StreamingEncoder) -> bool:
        """Emit a chunk's events; whether that was the end. A stop token ends the answer, whatever the server does."""
        ids = chunk.ids if chunk.ids is not None else encoder.push(chunk.text)
        if chunk.ids is None and chunk.finish is not None:
            ids += encoder.finish()
        token_logprobs: Sequence[TokenLogprob | None] = chunk.token_logprobs or [None] * len(ids)
        wants = ticket.request.logprobs is not None
        for token, logprob in zip(ids, token_logprobs, strict=True):
            if token in ticket.request.stops:
                ticket.emit(None, "stop", logprob if wants else None)
                return True
            ticket.emit(token, None, logprob if wants else None)
        if chunk.finish is not None:
            ticket.emit(None, chunk.finish)
        return chunk.finish is not None

    def _done(self, ticket: _Ticket, task: asyncio.Future[None]) -> None:
        self._tickets.discard(ticket)
        if task.cancelled():
            ticket.emit(None, "cancelled")
        elif (error := task.exception()) is not None:
            ticket.fail(error if isinstance(error, ModelError) else ModelError(f"the engine failed: {error!r}"))

    async def _unload_adapter(self, adapter: str) -> None:
        """Raises ModelError where the server fails to unload at once; a later failure is only logged."""
        tasks = [ticket.task for ticket in self._tickets if ticket.request.adapter == adapter and ticket.task]
        if not tasks:
            await self._unload_now(adapter)
            return
        unloading = asyncio.ensure_future(self._unload_after(adapter, tasks))
        self._unloading.add(unloading)
        unloading.add_done_callback(self._unloading.discard)

    async def _unload_after(self, adapter: str, tasks: Sequence[asyncio.Future[None]]) -> None:
        await asyncio.wait(tasks)
        try:
            await self._unload_now(adapter)
        except ModelError as error:
            sys.stderr.write(f"Adapter {adapter!r} may still be loaded: {error}\n")

    async def _unload_now(self, adapter: str) -> None:
        request = self._registry.unload_request(adapter)
        try:
            if request is not None:
                await self._upstream.post(*request)
        finally:
            self._registry.remove(adapter)

    async def _shut_down(self) -> None:
        tickets = list(self._tickets)
        for ticket in tickets:
            ticket.fail(ModelError("the model was unloaded before the answer was complete."))
            ticket.cancelled = True
            ticket.cancel()
        for unloading in self._unloading:
            unloading.cancel()
        ending = [*(ticket.task for ticket in tickets if ticket.task), *self._unloading]
        await asyncio.gather(*ending, return_exceptions=True)
        await self._upstream.close()


class _Ticket:
    """One request, its HTTP body, the queue of its events, and the task at work on it. No event comes after the end:
    the connection is closed afterwards, which can fail or be cancelled."""

    task: asyncio.Future[None] | None = None

    def __init__(self, request: Request, body: Mapping[str, Any], index: int, events: Events) -> None:
        self.request, self.body, self.index, self._events = request, body, index, events
        self.cancelled = self._cancel_sent = self._ended = False

    def emit(self, token: int | None, finish: FinishReason | None, token_logprobs: TokenLogprob | None = None) -> None:
        if not self._ended:
            self._ended = finish is not None
            self._events.put(TokenEvent(self.index, token, finish, token_logprobs))

    def fail(self, error: ModelError) -> None:
        if not self._ended:
            self._ended = True
            self._events.put(error)

    def cancel(self) -> None:
        """In the loop. Once: a second time would interrupt closing the connection, and the pool would lose it."""
        if self.task is not None and not self._cancel_sent:
            self._cancel_sent = True
            self.task.cancel()


def _cancel_marked(tickets: Sequence[_Ticket]) -> None:
    """In the loop: cancel the tasks of cancelled requests."""
    for ticket in tickets:
        if ticket.cancelled:
            ticket.cancel()


class HttpStream(TokenStream):
    """Dropping the last reference to it closes its connections, too: nothing else would before the next token."""

    def __del__(self) -> None:
        self.close()
