"""Texts that are read and continued together: each step gives every text that is read to its end its next token.

Knows places, steps and what to do when the cache is full. Knows nothing of threads or who asked.
Tokens of answers under way come first in a step, then as much of the new prompts as fits: who joins holds nobody up.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from camelid_core.errors import ModelError
from camelid_serve.engines.decode_batch import DecodeRow
from camelid_serve.engines.sampling import sample
from camelid_serve.engines.token_stream import Events, Ticket

from .kv_cells import CacheSlot, CacheSlots
from .model import MAX_BATCH_TOKENS, BatchToken, CacheFull, GgufModel


class LlamaTicket(Ticket):
    """A request's prompt and its answer so far; `slot` is where it is read, None while it waits."""

    def __init__(self, row: DecodeRow, index: int, events: Events) -> None:
        super().__init__(row, index, events)
        self.ids = list(row.request.ids)
        self.slot: CacheSlot | None = None


class LlamaBatch:
    """`slots` texts at once on a model that has one place more, for `decode` of what is no text here."""

    def __init__(self, model: GgufModel, slots: int) -> None:
        self.tickets: list[LlamaTicket] = []
        self.spare_slot = slots
        self._model = model
        self._slots = CacheSlots(model, slots)

    def admit(self, ticket: LlamaTicket) -> bool:
        """Take a text in; False while there is no place or no room for it."""
        full = sum(len(other.ids) for other in self.tickets) + len(ticket.ids) >= self._model.cache_tokens
        slot = None if full and self.tickets else self._slots.accept(ticket.ids)
        if slot is None:
            return False
        ticket.slot = slot
        self.tickets.append(ticket)
        return True

    def step(self) -> list[LlamaTicket]:
        """Go on with all texts, and tell who asked; gives back those that had to leave because the cache is full."""
        for ticket in [ticket for ticket in self.tickets if ticket.row.cancelled]:
            self._accept(ticket, 0)
        left: list[LlamaTicket] = []
        while self.tickets:
            tokens, ready = self._next_tokens()
            try:
                logits = self.decode(tokens)
            except CacheFull:
                left.append(self._preempt_youngest())
                continue
            self._record_cached(tokens)
            self._sample(ready, logits)
            break
        return left

    def decode(self, tokens: Sequence[BatchToken]) -> torch.Tensor:
        """Read tokens, forgetting texts that are done where there is no room.

        Raises:
            NoRoom: all that is held is under way.
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
        """Forget everything; the texts that were under way."""
        self._slots.clear_all()
        dropped, self.tickets = self.tickets, []
        return dropped

    def _next_tokens(self) -> tuple[list[BatchToken], list[LlamaTicket]]:
        """What to read in this step, and the texts that are read to their ends then, in this order."""
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
        held = {_slot(ticket).number: _slot(ticket).tokens for ticket in self.tickets}
        for entry in tokens:
            held[entry.slot].append(entry.token)

    def _sample(self, ready: Sequence[LlamaTicket], logits: torch.Tensor) -> None:
        if not ready:
            return
        tokens = sample(logits, [ticket.row.sampler for ticket in ready])
        for index, (ticket, token) in enumerate(zip(ready, tokens, strict=True)):
            ticket.row.keep_logprob(logits, index, token)
            self._accept(ticket, token)

    def _accept(self, ticket: LlamaTicket, token: int) -> None:
        row = ticket.row
        given = row.accept(token)
        if row.finish is not None:
            self.tickets.remove(ticket)
            self._slots.release(_slot(ticket))
        ticket.ids.append(token)
        ticket.emit(given)

    def _preempt_youngest(self) -> LlamaTicket:
        """Send the text that came last away: it is read again when there is room."""
        if len(self.tickets) == 1:
            raise ModelError("the model's cache has no room for this text.")
        ticket = self.tickets.pop()
        self._slots.clear(_slot(ticket))
        ticket.slot = None
        return ticket


def _slot(ticket: LlamaTicket) -> CacheSlot:
    assert ticket.slot is not None
    return ticket.slot
