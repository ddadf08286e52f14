"""The embedded engine: continuous batching and multi-LoRA on any Transformers model.

Knows which requests are scheduled next. Knows nothing of threads, text or templates, and of adapters only which can
share a batch. Requests join and leave the running batch between two decode steps; those whose adapters cannot share one
have batches of their own, which take turns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from camelid_core.artefacts import verify_directory
from camelid_core.errors import ModelError, UnknownName
from camelid_core.models.loading import Dtype, check_adapter_base, check_weight_files, load_with_adapter
from camelid_core.models.resolved_model import ResolvedModel

from camelid_serve.engine import Continuation, Engine, Request, TakeLogprobs, TakeRows, TokenLogprob

from .beam_search import beam_search, check_beams
from .continuation_scores import ContinuationScores, Scored
from .decode_batch import DecodeBatch, DecodeRow
from .logprobs import next_token_logprobs, prompt_logprobs
from .lora_adapters import ResidentAdapters
from .memory_layout import max_rows, with_transposed_weights
from .model_thread import ModelThread
from .positions import longest_context, native_length
from .prefix_cache import PrefixCache, prefix_cache_bytes
from .token_stream import Ticket, fail

_MAX_PREFILL_TOKENS = 16384
"""Most prompt tokens that join at once, padding included: bounds the memory that prefill takes."""

_DEFAULT_CONTEXT = 1 << 20
"""Context length of models that name none, in tokens."""


def load(resolved: ResolvedModel, dtype: Dtype = "auto", slots: int = 16) -> Engine:
    """The model of `resolved` with its adapter, ready to run `slots` requests at once."""
    return TransformersEngine(with_transposed_weights(load_with_adapter(resolved, dtype)), slots, resolved.base)


class TransformersEngine(ModelThread[Ticket]):
    """`model` is a causal language model or a `PeftModel` around one, on its device; `base` is its path on disk."""

    _ticket = Ticket

    def __init__(self, model: Any, slots: int = 16, base: Path | None = None) -> None:
        super().__init__("engine")
        self._adapters = ResidentAdapters(model.eval())
        self._base = base
        self._model = self._adapters.model
        self.context_length = longest_context(self._model.config) or _DEFAULT_CONTEXT
        self._native_length = native_length(self._model)
        self._slots = min(slots, max_rows(self._model) or slots)
        self._tickets: dict[DecodeRow, Ticket] = {}
        self._beam_searches: deque[Ticket] = deque()
        self._batches: dict[str | None, DecodeBatch] = {}
        self._prefix_cache = PrefixCache(prefix_cache_bytes(self._model.device))
        self._removing: frozenset[str] = frozenset()
        self._start()

    @property
    def adapters(self) -> tuple[str, ...]:
        removing = self._removing
        return tuple(name for name in self._adapters.names if name not in removing)

    @property
    def serves_base(self) -> bool:
        return not self._adapters.base_change

    def why_not_batched(self, name: str) -> str:
        return self._adapters.why_not_batched(name)

    def prompt_logprobs(self, ids: Sequence[int], adapter: str | None, top: int) -> list[TokenLogprob]:
        """Of every token of `ids` after the first, and last of the token that the model would choose to come next."""
        self._check_all([Request(ids, adapter=adapter)])
        return self._call_between_steps(lambda: self._prompt_logprobs(ids, adapter, top))

    def next_token_logprobs(self, ids: Sequence[int], adapter: str | None, first: int, take: TakeRows) -> None:
        """Give `take` the log-probabilities of all tokens after each token of `ids`, from position `first` on."""
        self._check_all([Request(ids, adapter=adapter)])
        self._call_between_steps(lambda: self._next_token_logprobs(ids, adapter, first, take))

    def score_continuations(
        self, continuations: Sequence[Continuation], adapter: str | None, take: TakeLogprobs
    ) -> None:
        """Give `take` each continuation's log-probabilities, batch after batch; between two, other requests go on."""
        if any(not each.prompt or not each.ids for each in continuations):
            raise ModelError("a continuation needs at least one token, and a prompt of at least one before it.")
        read = [[*each.prompt, *each.ids[:-1]] for each in continuations]  # the last token is only predicted
        self._check_all([Request(ids, adapter=adapter) for ids in read], room=0)
        scores = ContinuationScores(self._model, self._prefix_cache, adapter)
        for batch in scores.batches(continuations):
            for index, logprobs in self._call_between_steps(partial(self._score, scores, batch, adapter)):
                take(index, logprobs)

    def add_adapter(self, resolved: ResolvedModel) -> str:
        """Make a further adapter of this base resident; returns its name here."""
        directory = resolved.adapter_dir
        if directory is None:
            raise ModelError(f"{resolved.name!r} is a whole model, not an adapter.")
        if self._base is not None and resolved.base != self._base:
            raise ModelError(f"adapter {resolved.name!r} is for {str(resolved.base)!r}, not for {str(self._base)!r}.")
        check_weight_files(directory)
        if resolved.manifest is not None:
            verify_directory(directory)
        check_adapter_base(resolved)
        return self._call_between_steps(lambda: self._adapters.add(directory))

    def remove_adapter(self, name: str) -> None:
        """Running requests end first; then the adapter's memory is free."""
        with self._condition:
            self._check_open()
            if name not in self.adapters:
                raise UnknownName("adapter", name, self.adapters)
            self._removing |= {name}
        self._call_between_steps(self._free_removed)

    def _check(self, request: Request) -> None:
        check_beams(request)
        base_change, known = self._adapters.base_change, self.adapters
        if request.adapter is None and base_change:
            raise ModelError(f"its adapter {base_change}, so that the base cannot answer alone here.")
        if request.adapter is not None and request.adapter not in known:
            raise UnknownName("adapter", request.adapter, known)
        check_prompt = getattr(self._model, "check_prompt", None)
        if check_prompt is not None:  # a class that cannot read every row of tokens says so before it joins others
            check_prompt(request.ids)

    def _running_tickets(self) -> Collection[Ticket]:
        return (*self._tickets.values(), *self._beam_searches)

    def _unload(self) -> None:
        self._tickets.clear()
        self._beam_searches.clear()
        self._batches.clear()
        del self._model, self._adapters, self._prefix_cache

    def _step(self) -> None:
        self._search_beams()
        for key in self._active_batch_keys():
            try:
                self._step_batch(key)
            except Exception as error:  # out of memory, say: it goes to the streams of this batch
                self._fail(key, error)
        self._free_removed()

    def _search_beams(self) -> None:
        """Answer one request for beam search: the others' next step comes first."""
        with self._condition:
            self._beam_searches += [ticket for ticket in self._waiting if ticket.row.request.sampling.num_beams > 1]
            self._waiting = deque(ticket for ticket in self._waiting if ticket.row.request.sampling.num_beams == 1)
        if not self._beam_searches:
            return
        ticket = self._beam_searches.popleft()
        row = ticket.row
        try:
            self._adapters.activate([ticket.adapter])
            tokens = [] if row.cancelled else beam_search(self._model, row)
        except Exception as error:
            fail([ticket], error)
            return
        for token in tokens:
            if row.finish is None:
                ticket.emit(row.accept(token))
        if row.finish is None:
            row.finish = "cancelled"
            ticket.emit(None)

    def _free_removed(self) -> None:
        """Unload the removed adapters that have no requests any more."""
        if not self._removing:
            return
        with self._condition:
            busy = {ticket.adapter for ticket in (*self._running_tickets(), *self._waiting)}
        for name in self._removing - busy:
            self._batches.pop(name, None)
            for batch in self._batches.values():
                batch.forget_adapter(name)
            self._adapters.remove(name)
            with self._condition:
                self._removing -= {name}

    def _prompt_logprobs(self, ids: Sequence[int], adapter: str | None, top: int) -> list[TokenLogprob]:
        self._check_all([Request(ids, adapter=adapter)])  # again: it may have been removed meanwhile
        self._adapters.activate([adapter])
        return prompt_logprobs(self._model, ids, top)

    def _score(self, scores: ContinuationScores, batch: Sequence[Any], adapter: str | None) -> list[Scored]:
        self._check_all([Request([0], adapter=adapter)])  # again: it may have been removed meanwhile
        self._adapters.activate([adapter])
        return scores.score(batch)

    def _next_token_logprobs(self, ids: Sequence[int], adapter: str | None, first: int, take: TakeRows) -> None:
        self._check_all([Request(ids, adapter=adapter)])
        self._adapters.activate([adapter])
        next_token_logprobs(self._model, ids, first, take)

    def _active_batch_keys(self) -> list[str | None]:
        """The batches that have running or waiting requests, by key."""
        with self._condition:
            tickets = (*self._tickets.values(), *self._waiting)
        return list(dict.fromkeys(self._batch_key(ticket) for ticket in tickets))

    def _batch_key(self, ticket: Ticket) -> str | None:
        return self._adapters.batch_key(ticket.adapter)

    def _step_batch(self, key: str | None) -> None:
        """Prefill of the rows that join a batch, or one decode step of its running rows."""
        if key not in self._batches:
            self._batches[key] = DecodeBatch(self._model, self._prefix_cache)
        batch = self._batches[key]
        free, joined = self._free_slots(key), False
        while batch.accepts_rows and (joining := self._admit(key, free)):
            free, joined = free - len(joining), True
            self._tickets.update({ticket.row: ticket for ticket in joining})
            self._adapters.activate([joining[0].adapter])
            self._emit(batch.add([ticket.row for ticket in joining]))
        if not joined and batch.running:
            self._adapters.activate([row.request.adapter for row in batch.rows])
            self._emit(batch.step())
        if 16 * batch.running <= 15 * len(batch.rows) or batch.width >= self.context_length:
            batch.evict_finished()

    def _free_slots(self, key: str | None) -> int:
        """How many requests may join now: at once while few wait, else in groups: a prefill pass has a fixed cost."""
        with self._condition:
            waiting = sum(self._batch_key(ticket) == key for ticket in self._waiting)
        free = self._slots - len(self._tickets)
        return free if free >= min(waiting, max(1, self._slots // 16)) else 0

    def _admit(self, key: str | None, free: int) -> list[Ticket]:
        """The longest waiting requests of a batch that join together: under one adapter, and together within the
        prefill limit. One that needs a batch of its own waits until all others have ended, and those behind it wait."""
        joining: list[Ticket] = []
        if any(map(self._needs_own_batch, self._tickets)):
            return joining
        longest = 0
        with self._condition:
            for ticket in self._waiting:
                if len(joining) >= free:
                    break
                ours = self._batch_key(ticket) == key
                if self._needs_own_batch(ticket.row):
                    joining += [ticket] if ours and not joining and not self._tickets else []
                    break
                if not ours or (joining and ticket.adapter != joining[0].adapter):
                    continue
                longest = max(longest, len(ticket.row.request.ids))
                if joining and longest * (len(joining) + 1) > _MAX_PREFILL_TOKENS:
                    break
                joining.append(ticket)
            chosen = set(map(id, joining))
            self._waiting = deque(ticket for ticket in self._waiting if id(ticket) not in chosen)
        return joining

    def _needs_own_batch(self, row: DecodeRow) -> bool:
        """Whether it may grow so long that RoPE scaling by length would change the positions of its whole batch."""
        return self._native_length is not None and len(row.request.ids) + row.limit > self._native_length

    def _emit(self, steps: Sequence[tuple[DecodeRow, int | None]]) -> None:
        for row, token in steps:
            self._tickets[row].emit(token)
            if row.finish is not None:
                del self._tickets[row]

    def _fail(self, key: str | None, error: Exception) -> None:
        self._batches.pop(key, None)
        failed = [ticket for ticket in self._tickets.values() if self._batch_key(ticket) == key]
        if not failed:  # the batch itself could not be created
            with self._condition:
                failed = [ticket for ticket in self._waiting if self._batch_key(ticket) == key]
                self._waiting = deque(ticket for ticket in self._waiting if self._batch_key(ticket) != key)
        for ticket in failed:
            self._tickets.pop(ticket.row, None)
        fail(failed, error)
