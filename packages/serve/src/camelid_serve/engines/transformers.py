"""The embedded engine: any Transformers model, many requests at once, adapters on one resident base.

Knows threads, queues and which adapter is switched on. Knows nothing of text or templates.
One thread owns the model; streams are queues it writes to. Requests join and leave the running
batch between two tokens; those with different adapters take turns.
"""

from __future__ import annotations

import atexit
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import Any, Self, TypeVar

import torch
from camelid_core.artefacts import verify_directory
from camelid_core.errors import ModelError, UnknownName
from camelid_core.loading import Dtype, check_base, check_files, load_adapted
from camelid_core.models import Reference

from camelid_serve.engine import Engine, PromptTooLong, Request, Scored, TokenEvent

from .batch import Batch, Row
from .positions import longest_context
from .scoring import score

_PROMPT_TOKENS = 16384
"""Most prompt tokens read in one go, padding included: bounds the memory that reading takes."""

_UNBOUNDED = 1 << 20
"""Context of models that name none."""

T = TypeVar("T")


def load(reference: Reference, dtype: Dtype = "auto", slots: int = 16) -> Engine:
    """The model of `reference` with its adapter, ready to answer `slots` requests at once."""
    return TransformersEngine(load_adapted(reference, dtype), slots)


class _Ticket:
    """A row and where its events go."""

    def __init__(self, row: Row, index: int, events: SimpleQueue[TokenEvent | Exception]) -> None:
        self.row, self.index, self.events = row, index, events

    def tell(self, token: int | None) -> None:
        if token is not None or self.row.finish is not None:
            self.events.put(TokenEvent(self.index, token, self.row.finish, self.row.scored))


class TransformersEngine:
    """`model` is a causal language model or a `PeftModel` around one, on its device."""

    def __init__(self, model: Any, slots: int = 16) -> None:
        self._adapters = _Adapters(model.eval())
        self._model = self._adapters.model
        self.context_length = longest_context(self._model.config) or _UNBOUNDED
        self._slots = slots
        self._waiting: deque[_Ticket] = deque()
        self._tickets: dict[Row, _Ticket] = {}
        self._batches: dict[str | None, Batch] = {}
        self._errands: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, daemon=True, name="engine")
        self._thread.start()
        atexit.register(self.close)  # torch aborts the process if the interpreter goes while it computes

    @property
    def adapters(self) -> tuple[str, ...]:
        return self._adapters.names

    def stream(self, requests: Sequence[Request]) -> TokenStream:
        for request in requests:
            self._check(request)
        events: SimpleQueue[TokenEvent | Exception] = SimpleQueue()
        rows = [Row(request, self._limit(request)) for request in requests]
        with self._changed:
            if self._closed:
                raise ModelError("the model was unloaded; load it again.")
            self._waiting += [_Ticket(row, index, events) for index, row in enumerate(rows)]
            self._changed.notify()
        return TokenStream(rows, events, self._wake)

    def score(self, ids: Sequence[int], adapter: str | None, top: int) -> list[Scored]:
        """Every token of `ids` after the first, and last what the model would choose to come next."""
        self._check(Request(ids, adapter=adapter))
        return self._between_turns(lambda: self._score(ids, adapter, top))

    def add_adapter(self, reference: Reference) -> str:
        """Make a further adapter of this base resident; gives its name here."""
        if reference.peft is None:
            raise ModelError(f"{reference.name!r} is a whole model, not an adapter.")
        directory = str(reference.peft)
        check_files(reference.peft)
        if reference.manifest is not None:
            verify_directory(reference.peft)
        check_base(reference)
        return self._between_turns(lambda: self._adapters.add(directory))

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        atexit.unregister(self.close)

    def _check(self, request: Request) -> None:
        if request.adapter is not None and request.adapter not in self.adapters:
            raise UnknownName("adapter", request.adapter, self.adapters)
        if not request.ids:
            raise ModelError("the prompt is empty; it needs at least one token.")
        if len(request.ids) >= self.context_length:
            raise PromptTooLong(len(request.ids), self.context_length)

    def _limit(self, request: Request) -> int:
        return min(request.sampling.max_new_tokens, self.context_length - len(request.ids))

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _run(self) -> None:
        with torch.inference_mode():
            while self._wait_for_work():
                self._run_errands()
                self._drop_cancelled()
                for adapter in self._wanted():
                    try:
                        self._turn(adapter)
                    except Exception as error:  # out of memory, say: it belongs to those who asked
                        self._fail(adapter, error)
        self._run_errands()
        self._fail_all(ModelError("the model was unloaded before the answer was complete."))
        self._batches.clear()
        del self._model, self._adapters

    def _wait_for_work(self) -> bool:
        with self._changed:
            while not (self._closed or self._waiting or self._tickets or self._errands):
                self._changed.wait()
            return not self._closed

    def _between_turns(self, errand: Callable[[], T]) -> T:
        """Run `errand` on the thread that owns the model, and wait for it."""
        done: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

        def run() -> None:
            try:
                done.put((errand(), None))
            except BaseException as error:
                done.put((None, error))

        with self._changed:
            if self._closed:
                raise ModelError("the model was unloaded; load it again.")
            self._errands.append(run)
            self._changed.notify()
        result, error = done.get()
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

    def _run_errands(self) -> None:
        while self._errands:
            self._errands.popleft()()

    def _score(self, ids: Sequence[int], adapter: str | None, top: int) -> list[Scored]:
        self._adapters.switch_to(adapter)
        return score(self._model, ids, top)

    def _wanted(self) -> list[str | None]:
        with self._changed:
            waiting = [ticket.row.request.adapter for ticket in self._waiting]
        return list(dict.fromkeys([*(row.request.adapter for row in self._tickets), *waiting]))

    def _turn(self, adapter: str | None) -> None:
        """One token for every running row under `adapter`, or the prompts of rows that join."""
        self._adapters.switch_to(adapter)
        if adapter not in self._batches:
            self._batches[adapter] = Batch(self._model)
        batch = self._batches[adapter]
        joining = self._admit(adapter, batch)
        if joining:
            self._tickets.update({ticket.row: ticket for ticket in joining})
            self._tell(batch.add([ticket.row for ticket in joining]))
        elif batch.running:
            self._tell(batch.step())
        if 4 * batch.running <= 3 * len(batch.rows):
            batch.compact()

    def _admit(self, adapter: str | None, batch: Batch) -> list[_Ticket]:
        """Waiting requests that join now: at once while few wait, else in groups, as each joining costs a copy."""
        with self._changed:
            waiting = [ticket for ticket in self._waiting if ticket.row.request.adapter == adapter]
            free = self._slots - len(self._tickets)
            if not waiting or not batch.open or free < min(len(waiting), max(1, self._slots // 4)):
                return []
            joining = waiting[:1]
            for ticket in waiting[1:free]:
                longest = max(len(other.row.request.ids) for other in (*joining, ticket))
                if longest * (len(joining) + 1) > _PROMPT_TOKENS:
                    break
                joining.append(ticket)
            chosen = set(map(id, joining))
            self._waiting = deque(ticket for ticket in self._waiting if id(ticket) not in chosen)
            return joining

    def _drop_cancelled(self) -> None:
        """End requests that were cancelled before their turn came."""
        with self._changed:
            dropped = [ticket for ticket in self._waiting if ticket.row.cancelled]
            if dropped:
                self._waiting = deque(ticket for ticket in self._waiting if not ticket.row.cancelled)
        for ticket in dropped:
            ticket.row.finish = "cancelled"
            ticket.tell(None)

    def _tell(self, steps: Sequence[tuple[Row, int | None]]) -> None:
        for row, token in steps:
            self._tickets[row].tell(token)
            if row.finish is not None:
                del self._tickets[row]

    def _fail(self, adapter: str | None, error: Exception) -> None:
        self._batches.pop(adapter, None)
        for row in [row for row in self._tickets if row.request.adapter == adapter]:
            self._tickets.pop(row).events.put(error)

    def _fail_all(self, error: Exception) -> None:
        for ticket in (*self._tickets.values(), *self._waiting):
            ticket.events.put(error)
        self._tickets.clear()
        self._waiting.clear()


class TokenStream:
    """The events of one `stream` call. Leaving it, closing it or forgetting it cancels what is left."""

    def __init__(self, rows: list[Row], events: SimpleQueue[TokenEvent | Exception], wake: Any) -> None:
        self._rows = rows
        self._events = events
        self._wake = wake
        self._left = len(rows)

    def __iter__(self) -> Iterator[TokenEvent]:
        return self

    def __next__(self) -> TokenEvent:
        if self._left <= 0:
            raise StopIteration
        event = self._events.get()
        while isinstance(event, TokenEvent) and event.finish is None and self._rows[event.index].cancelled:
            event = self._events.get()  # made before the cancelling was heard of
        if isinstance(event, Exception):
            self.close()
            raise event
        self._left -= event.finish is not None
        return event

    def cancel(self, index: int) -> None:
        self._rows[index].cancelled = True
        self._wake()

    def close(self) -> None:
        self._left = 0
        for row in self._rows:
            row.cancelled = True
        self._wake()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __del__(self) -> None:
        for row in self._rows:
            row.cancelled = True


class _Adapters:
    """Which adapters a model has, and which is switched on. `model` is the model to call."""

    def __init__(self, model: Any) -> None:
        configs = getattr(model, "peft_config", None) if hasattr(model, "get_base_model") else None
        if configs and any(config.is_prompt_learning for config in configs.values()):
            raise ModelError(
                "this adapter is learned prompt tokens, which this engine cannot share a base with; use LoRA."
            )
        self.names: tuple[str, ...] = tuple(configs or ())
        self.model = model.get_base_model() if configs else model
        self._peft = model if configs else None
        self._tuner = model.base_model if configs else None
        self._current: str | None = model.active_adapter if configs else None

    def add(self, directory: str) -> str:
        """Load one more from its directory; it is not switched on."""
        from peft import PeftConfig

        if self._peft is None:
            raise ModelError("this base was loaded without an adapter and takes none; load it with one of them.")
        if PeftConfig.from_pretrained(directory).is_prompt_learning:
            raise ModelError(f"{directory!r} is learned prompt tokens, which cannot share a base here; use LoRA.")
        name = f"adapter{len(self.names)}"
        self._peft.load_adapter(directory, name)
        self._peft.eval()
        self.names += (name,)
        return name

    def switch_to(self, adapter: str | None) -> None:
        if self._tuner is None or adapter == self._current:
            return
        if adapter is None:
            self._tuner.disable_adapter_layers()
        else:
            self._tuner.enable_adapter_layers()
            self._tuner.set_adapter(adapter)
        self._current = adapter
