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

from .kv_cells import Place, Places
from .model import CHUNK, Entry, Native, NoRoom


class Text(Ticket):
    """A request's prompt and its answer so far; `place` is where it is read, None while it waits."""

    def __init__(self, row: DecodeRow, index: int, events: Events) -> None:
        super().__init__(row, index, events)
        self.ids = list(row.request.ids)
        self.place: Place | None = None


class Reading:
    """`slots` texts at once on a model that has one place more, for `read` of what is no text here."""

    def __init__(self, native: Native, slots: int) -> None:
        self.texts: list[Text] = []
        self.spare = slots
        self._native = native
        self._places = Places(native, slots)

    def begin(self, text: Text) -> bool:
        """Take a text in; False while there is no place or no room for it."""
        full = sum(len(other.ids) for other in self.texts) + len(text.ids) >= self._native.room
        place = None if full and self.texts else self._places.take(text.ids)
        if place is None:
            return False
        text.place = place
        self.texts.append(text)
        return True

    def step(self) -> list[Text]:
        """Go on with all texts, and tell who asked; gives back those that had to leave because the cache is full."""
        for text in [text for text in self.texts if text.row.cancelled]:
            self._take(text, 0)
        left: list[Text] = []
        while self.texts:
            entries, ready = self._next()
            try:
                logits = self.read(entries)
            except NoRoom:
                left.append(self._youngest())
                continue
            self._hold(entries)
            self._choose(ready, logits)
            break
        return left

    def read(self, entries: Sequence[Entry]) -> torch.Tensor:
        """Read tokens, forgetting texts that are done where there is no room.

        Raises:
            NoRoom: all that is held is under way.
        """
        while True:
            try:
                return self._native.read(entries)
            except NoRoom:
                if not self._places.drop_oldest():
                    raise

    def forget(self, place: int) -> None:
        self._native.forget(place)

    def drop_all(self) -> list[Text]:
        """Forget everything; the texts that were under way."""
        self._places.drop_all()
        dropped, self.texts = self.texts, []
        return dropped

    def _next(self) -> tuple[list[Entry], list[Text]]:
        """What to read in this step, and the texts that are read to their ends then, in this order."""
        entries: list[Entry] = []
        ready: list[Text] = []
        for text in sorted(self.texts, key=lambda text: len(text.ids) - len(_place(text).held)):
            place = _place(text)
            start = len(place.held)
            piece = text.ids[start : start + CHUNK - len(entries)]
            end = start + len(piece) == len(text.ids)
            last = start + len(piece) - 1 if end else -1
            entries += [Entry(token, at, place.number, at == last) for at, token in enumerate(piece, start)]
            if piece and end:
                ready.append(text)
        return entries, ready

    def _hold(self, entries: Sequence[Entry]) -> None:
        held = {_place(text).number: _place(text).held for text in self.texts}
        for entry in entries:
            held[entry.place].append(entry.token)

    def _choose(self, ready: Sequence[Text], logits: torch.Tensor) -> None:
        if not ready:
            return
        tokens = sample(logits, [text.row.sampler for text in ready])
        for index, (text, token) in enumerate(zip(ready, tokens, strict=True)):
            text.row.keep_logprob(logits, index, token)
            self._take(text, token)

    def _take(self, text: Text, token: int) -> None:
        row = text.row
        given = row.take(token)
        if row.finish is not None:
            self.texts.remove(text)
            self._places.leave(_place(text))
        text.ids.append(token)
        text.emit(given)

    def _youngest(self) -> Text:
        """Send the text that came last away: it is read again when there is room."""
        if len(self.texts) == 1:
            raise ModelError("the model's cache has no room for this text.")
        text = self.texts.pop()
        self._places.drop(_place(text))
        text.place = None
        return text


def _place(text: Text) -> Place:
    assert text.place is not None
    return text.place
