"""The engine for GGUF files: many requests at once on one model, through llama.cpp.

Knows threads and queues. Knows nothing of text or templates, save that a tokenizer that was made from a file's metadata
must cut text as llama.cpp does. One thread owns the model; streams are queues it writes to.
"""

from __future__ import annotations

import atexit
import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

import torch
from camelid_core.errors import ModelError, UnknownName
from camelid_core.gguf_files import brings_tokenizer, is_gguf
from camelid_core.loading import Dtype, load_tokenizer
from camelid_core.models import Reference
from camelid_serve.engine import PromptTooLong, Request, Scored
from camelid_serve.engines.batch import Row
from camelid_serve.engines.scoring import scored
from camelid_serve.engines.tickets import Events, Ticket, TokenStream

from .native import Entry, Native, NoRoom
from .reading import Reading, Text

_MOST_SLOTS = 64
"""Texts at once: llama.cpp takes 256, and long before that more of them are no faster."""
_SCORED_AT_ONCE = 128
_PROBE = "Tom's 3 boxes hold 12,345 pens.\n\n  Größe: x_y = f(a[0]) != 7;\tI'LL say: 答案是7。 naïve — 😀\r\n"
"""Text that tokenizers cut at different places."""


def load(reference: Reference, dtype: Dtype = "auto", slots: int = 16) -> LlamaEngine:
    """The GGUF file of `reference`, ready to answer `slots` requests at once.

    Raises:
        ModelError: it is none, llama.cpp cannot load it, or its tokenizer could not be made as it should be.
        MissingPackage: llama.cpp is not here.
    """
    if not is_gguf(reference.base):
        raise ModelError(f"engine 'llamacpp' runs GGUF files, and {reference.name!r} is none; leave out the engine.")
    slots = min(slots, _MOST_SLOTS)
    native = Native(reference.base, slots + 1, dtype)
    try:
        if not brings_tokenizer(reference.base):
            _check_tokenizer(reference, native)
    except BaseException:
        native.close()
        raise
    return LlamaEngine(native, slots)


def _check_tokenizer(reference: Reference, native: Native) -> None:
    expected = native.tokenise(_PROBE)
    found: list[int] = load_tokenizer(reference)(_PROBE, add_special_tokens=False)["input_ids"]
    if expected is not None and found != expected:
        raise ModelError(
            f"{str(reference.base)!r} cuts text in a way that its metadata alone does not tell; put the model's "
            "tokenizer.json and tokenizer_config.json beside it."
        )


class LlamaEngine:
    """Streams opened from several threads run together; the model lives as long as the thread that owns it."""

    adapters: tuple[str, ...] = ()

    def __init__(self, native: Native, slots: int) -> None:
        self.context_length = native.context_length
        self._vocabulary = native.vocabulary
        self._native = native
        self._reading = Reading(native, slots)
        self._waiting: deque[Text] = deque()
        self._errands: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, daemon=True, name="llama.cpp")
        self._thread.start()
        atexit.register(self.close)

    def stream(self, requests: Sequence[Request]) -> TokenStream:
        for request in requests:
            self._check(request.ids, request.adapter)
        events: Events = SimpleQueue()
        rows = [Row(request, self._limit(request)) for request in requests]
        with self._changed:
            self._check_open()
            self._waiting += [Text(Ticket(row, index, events)) for index, row in enumerate(rows)]
            self._changed.notify()
        return TokenStream(rows, events, self._wake)

    def score(self, ids: Sequence[int], adapter: str | None, top: int) -> list[Scored]:
        """Every token of `ids` after the first, and last what the model would choose to come next."""
        self._check(ids, adapter)
        done: SimpleQueue[list[Scored] | Exception] = SimpleQueue()

        def errand() -> None:
            try:
                done.put(self._score(ids, top))
            except Exception as error:
                done.put(error)

        with self._changed:
            self._check_open()
            self._errands.append(errand)
            self._changed.notify()
        found = done.get()
        if isinstance(found, Exception):
            raise found
        return found

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        atexit.unregister(self.close)

    def _check(self, ids: Sequence[int], adapter: str | None) -> None:
        if adapter is not None:
            raise UnknownName("adapter", adapter, self.adapters)
        if not ids:
            raise ModelError("the prompt is empty; it needs at least one token.")
        if len(ids) >= self.context_length:
            raise PromptTooLong(len(ids), self.context_length)
        if not 0 <= min(ids) <= max(ids) < self._vocabulary:
            raise ModelError(f"the prompt has token ids that this model has not: it has {self._vocabulary:,}.")

    def _check_open(self) -> None:
        if self._closed:
            raise ModelError("the model was unloaded; load it again.")

    def _limit(self, request: Request) -> int:
        return min(request.sampling.max_new_tokens, self.context_length - len(request.ids))

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _run(self) -> None:
        while self._wait_for_work():
            self._run_errands()
            try:
                self._admit()
                self._turn()
            except Exception as error:  # it belongs to those who asked
                self._fail(self._reading.drop_all(), error)
        self._run_errands()
        unloaded = ModelError("the model was unloaded before the answer was complete.")
        self._fail([*self._reading.texts, *self._waiting], unloaded)
        self._waiting.clear()
        self._native.close()

    def _wait_for_work(self) -> bool:
        with self._changed:
            while not (self._closed or self._waiting or self._reading.texts or self._errands):
                self._changed.wait()
            return not self._closed

    def _run_errands(self) -> None:
        while self._errands:
            self._errands.popleft()()

    def _admit(self) -> None:
        """Let those in who have waited longest; who was cancelled meanwhile ends here."""
        while True:
            with self._changed:
                text = self._waiting.popleft() if self._waiting else None
            if text is None:
                return
            if text.ticket.row.cancelled:
                text.ticket.tell(text.ticket.row.take(0))
            elif not self._reading.begin(text):
                self._put_back([text])
                return

    def _turn(self) -> None:
        with torch.inference_mode():
            self._put_back(self._reading.step())

    def _put_back(self, texts: Sequence[Text]) -> None:
        with self._changed:
            self._waiting.extendleft(texts)

    def _score(self, ids: Sequence[int], top: int) -> list[Scored]:
        place, found = self._reading.spare, list[Scored]()
        following = [*ids[1:], None]
        try:
            for start in range(0, len(ids), _SCORED_AT_ONCE):
                piece = ids[start : start + _SCORED_AT_ONCE]
                logits = self._reading.read([Entry(token, at, place, True) for at, token in enumerate(piece, start)])
                found += [_scored(row, token, top) for row, token in zip(logits, following[start:], strict=False)]
        except NoRoom:
            raise ModelError("the model's cache is full of other requests; ask again.") from None
        finally:
            self._reading.forget(place)
        return found

    @staticmethod
    def _fail(texts: Sequence[Text], error: Exception) -> None:
        for text in texts:
            text.ticket.events.put(error)


def _scored(logits: Any, token: int | None, top: int) -> Scored:
    return scored(logits, int(logits.argmax()) if token is None else token, top)
