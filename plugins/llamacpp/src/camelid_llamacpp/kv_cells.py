"""Which place of the cache holds which tokens, and which of them the next text can use.

Knows tokens and places. Knows nothing of who asked. A text that is done stays until its place is needed: a conversation
that goes on, or a prompt that begins like another, is read from where it differs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from .model import Native

_WORTH_SHARING = 8
"""Tokens that two texts must begin with alike before taking them over pays."""


class Place:
    """`held` are the tokens in the cache; `taken` says that a text is under way here."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.held: list[int] = []
        self.taken = False
        self.used = 0


class Places:
    def __init__(self, native: Native, count: int) -> None:
        self._native = native
        self._whole = native.forgets_whole
        self._places = [Place(number) for number in range(count)]
        self._clock = itertools.count(1)

    def take(self, ids: Sequence[int]) -> Place | None:
        """A free place for a text, with what is already read of it; None while there is none."""
        free = [place for place in self._places if not place.taken]
        if not free:
            return None
        best = max(self._places, key=lambda place: (_common(place.held, ids), not place.taken))
        known = 0 if self._whole else _common(best.held, ids)
        if known < _WORTH_SHARING or best.taken:
            place = min(free, key=lambda each: (bool(each.held), each.used))
            self.drop(place)
        else:
            place = best
            self._cut(place, known)
        if best.taken and known >= _WORTH_SHARING:
            self._native.share(best.number, place.number, known)
            place.held = list(best.held[:known])
        place.taken, place.used = True, next(self._clock)
        return place

    def leave(self, place: Place) -> None:
        """The text is done. It stays as it is until somebody needs its room."""
        place.taken, place.used = False, next(self._clock)

    def drop(self, place: Place) -> None:
        """Forget what is there and free the place."""
        self._cut(place, 0)
        place.taken = False

    def drop_oldest(self) -> bool:
        """Make room by forgetting the text that was done longest ago; False if all that is held is under way."""
        done = [place for place in self._places if place.held and not place.taken]
        if done:
            self.drop(min(done, key=lambda place: place.used))
        return bool(done)

    def drop_all(self) -> None:
        self._native.forget_all()
        for place in self._places:
            place.held, place.taken = [], False

    def _cut(self, place: Place, start: int) -> None:
        if len(place.held) > start:
            self._native.forget(place.number, start)
            del place.held[start:]


def _common(held: Sequence[int], ids: Sequence[int]) -> int:
    """How many tokens both begin with, the last of `ids` left out: something must be read to have an answer."""
    limit = min(len(held), len(ids) - 1)
    return next((index for index in range(limit) if held[index] != ids[index]), limit)
