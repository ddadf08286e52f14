"""Token ids → text, piece by piece: never half a character, nothing of a stop text.

Knows how to decode a growing list of ids and how to hold text back. Knows nothing of engines or templates.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]
_INCOMPLETE = "\ufffd"
_CONTEXT = 4
"""Pieces decoded again for context: some tokenizers space a token by its neighbours."""


class Detokeniser:
    """Decodes ids one at a time; what it gave out, joined, is what decoding all at once gives.

    A character whose bytes have not all come is held back, and dropped if they never come.
    """

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._ends = deque([0], maxlen=_CONTEXT + 1)  # where pieces ended; never inside a character

    def push(self, token: int) -> str:
        self._ids.append(token)
        text = self._new()
        if text.endswith(_INCOMPLETE):
            return ""
        self._ends.append(len(self._ids))
        return text

    def finish(self) -> str:
        text = self._new().rstrip(_INCOMPLETE)
        self._ends.append(len(self._ids))
        return text

    def _new(self) -> str:
        start, end = self._ends[0], self._ends[-1]
        known = self._decode(self._ids[start:end])
        return self._decode(self._ids[start:])[len(known) :]


class StopFilter:
    """Passes text on up to the first stop text; `stopped` says one came."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """What is safe to show of all that came: nothing that may be the beginning of a stop text."""
        if self.stopped:
            return ""
        text, self._held = self._held + text, ""
        found = [at for at in (text.find(stop) for stop in self._stops) if at >= 0]
        if found:
            self.stopped = True
            return text[: min(found)]
        keep = self._beginning(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """What was held back and turned out to be no stop text."""
        text, self._held = self._held, ""
        return "" if self.stopped else text

    def _beginning(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop text."""
        longest = min(len(text), max((len(stop) for stop in self._stops), default=1) - 1)
        for length in range(longest, 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0


class TextStream:
    """One answer's ids → its text: detokenising, then stop texts."""

    def __init__(self, decode: Decode, stops: Sequence[str] = ()) -> None:
        self._detokeniser = Detokeniser(decode)
        self._filter = StopFilter(stops)

    @property
    def stopped(self) -> bool:
        return self._filter.stopped

    def push(self, token: int) -> str:
        text = self._detokeniser.push(token)
        return self._filter.push(text) if text else ""

    def finish(self) -> str:
        return self._filter.push(self._detokeniser.finish()) + self._filter.finish()
