"""Continuous batching on llama.cpp: each step decodes one batch and samples a token for every prompt that is computed.

Knows slots, steps and what to do when the KV cache is full. Knows nothing of threads or clients.
Tokens of running answers come first in a step, then as much of the new prompts as fits (chunked prefill): a long prompt
delays no other answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from camelid_core.errors import ModelError
from camelid_serve.engines.decode_batch import DecodeRow
from camelid_serve.engines.sampling import sample, usable_rows
from camelid_serve.engines.token_stream import Events, Ticket

from .kv_cells import CacheSlot, CacheSlots
from .model import MAX_BATCH_TOKENS, BatchToken, CacheFull, GgufModel


class LlamaTicket(Ticket):
    """A request with the token ids of its prompt and its answer so far; `slot` is None while it waits."""

    def __init__(self, row: DecodeRow, index: int, events: Events) -> None:
        super().__init__(row, index, events)
        self.ids = list(row.request.ids)
        self.slot: CacheSlot | None = None


class LlamaBatch:
    """Up to `slots` running requests on a model that has one slot more, `spare_slot`, for other calls of `decode`."""

    def __init__(self, model: GgufModel, slots: int) -> None:
        self.tickets: list[LlamaTicket] = []
        self.spare_slot = slots
        self._model = model
        self._slots = CacheSlots(model, slots)

    def admit(self, ticket: LlamaTicket) -> bool:
        """Start a request; False while there is no free slot or not enough KV cache for it."""
        full = sum(len(other.ids) for other in self.tickets) + len(ticket.ids) >= self._model.cache_tokens
        slot = None if full and self.tickets else self._slots.take(ticket.ids)
        if slot is None:
            return False
        ticket.slot = slot
        self.tickets.append(ticket)
        return True

    def step(self) -> list[LlamaTicket]:
        """One step of all requests, with their events; returns those that were preempted because the cache is full."""
        for ticket in [ticket for ticket in self.tickets if ticket.row.cancelled]:
            self._accept(ticket, 0)
        preempted: list[LlamaTicket] = []
        while self.tickets:
            tokens, ready = self._next_tokens()
            try:
                logits = self.decode(tokens)
            except CacheFull:
                preempted.append(self._preempt_youngest())
                continue
            self._record_cached(tokens)
            self._sample(ready, logits)
            break
        return preempted

    def decode(self, tokens: Sequence[BatchToken]) -> torch.Tensor:
        """Decode tokens, evicting finished sequences while the KV cache is full.

        Raises:
            CacheFull: all cached tokens belong to running requests.
        """
        while True:
            try:
                return self._model.decode(tokens)
            except CacheFull:
                if not self._slots.evict_oldest():
                    raise

    def evict(self, slot: int) -> None:
        self._model.evict(slot)

    def clear_all(self) -> list[LlamaTicket]:
        """Empty the KV cache; returns the requests that were running."""
        self._slots.clear_all()
        dropped, self.tickets = self.tickets, []
        return dropped

    def _next_tokens(self) -> tuple[list[BatchToken], list[LlamaTicket]]:
        """The tokens of this step, and the requests that get logits from it, in this order."""
        tokens: list[BatchToken] = []
        ready: list[LlamaTicket] = []
        for ticket in sorted(self.tickets, key=lambda ticket: len(ticket.ids) - len(_slot(ticket).tokens)):
            slot = _slot(ticket)
            start = len(slot.tokens)
            piece = ticket.ids[start : start + MAX_BATCH_TOKENS - len(tokens)]
            end = start + len(piece) == len(ticket.ids)
            last = start + len(piece) - 1 if end else -1
            tokens += [BatchToken(token, at, slot.number, at == last) for at, token in enumerate(piece, start)]
            if piece and end:
                ready.append(ticket)
        return tokens, ready

    def _record_cached(self, tokens: Sequence[BatchToken]) -> None:
        cached = {_slot(ticket).number: _slot(ticket).tokens for ticket in self.tickets}
        for batch_token in tokens:
            cached[batch_token.slot].append(batch_token.token)

    def _sample(self, ready: Sequence[LlamaTicket], logits: torch.Tensor) -> None:
        if not ready:
            return
        tokens = sample(logits, [ticket.row.sampler for ticket in ready])
        for index, (ticket, token, usable) in enumerate(zip(ready, tokens, usable_rows(logits), strict=True)):
            if not usable:
                self._fail(ticket)
                continue
            ticket.row.keep_logprob(logits, index, token)
            self._accept(ticket, token)

    def _accept(self, ticket: LlamaTicket, token: int) -> None:
        row = ticket.row
        accepted = row.accept(token)
        if row.finish is not None:
            self.tickets.remove(ticket)
            self._slots.release(_slot(ticket))
        ticket.ids.append(token)
        ticket.emit(accepted)

    def _fail(self, ticket: LlamaTicket) -> None:
        ticket.row.fail()
        self.tickets.remove(ticket)
        self._slots.clear(_slot(ticket))
        ticket.emit(None)

    def _preempt_youngest(self) -> LlamaTicket:
        """Preempt the request that was admitted last: it is computed again when there is memory."""
        if len(self.tickets) == 1:
            raise ModelError("the model's cache has no room for this text.")
        ticket = self.tickets.pop()
        self._slots.clear(_slot(ticket))
        ticket.slot = None
        return ticket


def _slot(ticket: LlamaTicket) -> CacheSlot:
    assert ticket.slot is not None
    return ticket.slot
