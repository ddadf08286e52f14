"""Token ids → text, streamed (incremental detokenisation): never a part of a character, nothing of a stop text.

Knows how to decode a growing list of ids and how to hold text back. Knows nothing of engines or templates.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]
_INCOMPLETE = "\ufffd"
_CONTEXT = 4
"""Pieces that are decoded again for context: some tokenizers put spaces by a token's neighbours."""


class Detokeniser:
    """Decodes ids one at a time; the pieces, joined, are what decoding all ids at once gives.

    A character whose bytes are incomplete is held back, and dropped if they never come.
    """

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._piece_ends = deque([0], maxlen=_CONTEXT + 1)  # where pieces ended; never inside a character

    def push(self, token: int) -> str:
        self._ids.append(token)
        text = self._new_text()
        if text.endswith(_INCOMPLETE):
            return ""
        self._piece_ends.append(len(self._ids))
        return text

    def finish(self) -> str:
        text = self._new_text().rstrip(_INCOMPLETE)
        self._piece_ends.append(len(self._ids))
        return text

    def _new_text(self) -> str:
        start, end = self._piece_ends[0], self._piece_ends[-1]
        known = self._decode(self._ids[start:end])
        return self._decode(self._ids[start:])[len(known) :]


class StopFilter:
    """Passes text on up to the first stop text; `stopped` says that one came."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held_back = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """The text that can be shown: an end that may be the beginning of a stop text is held back."""
        if self.stopped:
            return ""
        text, self._held_back = self._held_back + text, ""
        found = [at for at in (text.find(stop) for stop in self._stops) if at >= 0]
        if found:
            self.stopped = True
            return text[: min(found)]
        keep = self._partial_stop_length(text)
        self._held_back = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """The text that was held back and is no stop text after all."""
        text, self._held_back = self._held_back, ""
        return "" if self.stopped else text

    def _partial_stop_length(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop text."""
        longest = min(len(text), max((len(stop) for stop in self._stops), default=1) - 1)
        for length in range(longest, 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0


class TextStream:
    """One answer's ids → its text: detokenisation, then stop texts."""

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
