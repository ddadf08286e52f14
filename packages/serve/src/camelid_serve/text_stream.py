"""Token ids → text, streamed (incremental detokenisation): never a part of a character, nothing of a stop text.

Knows how to decode a growing list of ids and how to hold text back. Knows nothing of engines or templates.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from camelid_core.tokenization.token_decoder import INCOMPLETE, TokenDecoder

_CONTEXT = 4
"""Pieces that are decoded again for context: some tokenizers put spaces by a token's neighbours."""
_FIRST_MARK = 0x10FF00
"""Private characters from here on stand for control tokens while stop texts are looked for."""


class Detokeniser:
    """Decodes ids one at a time behind the ids `before`; the pieces, joined, are what decoding all ids at once gives.

    A character whose bytes are incomplete is held back, and dropped if they never come. Control tokens are no text.
    """

    def __init__(self, decoder: TokenDecoder, before: Sequence[int] = ()) -> None:
        self._decoder = decoder
        self._ids = decoder.context(before)
        self._piece_ends = deque([0], maxlen=_CONTEXT + 1)  # where pieces ended; never inside a character
        if self._ids:
            self._piece_ends.append(decoder.whole_characters(self._ids))

    def push(self, token: int) -> str:
        if token in self._decoder.special:
            return self._restart() if self._decoder.begins_text(token) else ""
        self._ids.append(token)
        text = self._new_text()
        if text.endswith(INCOMPLETE):
            return ""
        self._piece_ends.append(len(self._ids))
        return text

    def peek(self, token: int) -> str:
        """What `push` would give; nothing changes."""
        return self._text_from_last([*self._ids[self._piece_ends[0] :], token])

    def finish(self) -> str:
        text = self._new_text().rstrip(INCOMPLETE)
        self._piece_ends.append(len(self._ids))
        return text

    def _restart(self) -> str:
        text = self.finish()
        self._ids.clear()
        self._piece_ends.extend([0] * (_CONTEXT + 1))
        return text

    def _new_text(self) -> str:
        return self._text_from_last(self._ids[self._piece_ends[0] :])

    def _text_from_last(self, ids: Sequence[int]) -> str:
        """The text of `ids`, which begin at the context, without that of the pieces given out."""
        known = self._decoder.text(ids[: self._piece_ends[-1] - self._piece_ends[0]])
        return self._decoder.text(ids)[len(known) :]


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
    """One answer's ids → its text behind the ids `before`: detokenisation, then stop texts.

    A stop text may have control tokens in it, which are looked for as tokens and as text.
    """

    def __init__(self, decoder: TokenDecoder, stops: Sequence[str] = (), before: Sequence[int] = ()) -> None:
        self._detokeniser = Detokeniser(decoder, before)
        self._marks, marked = _marked_stops(decoder, stops)
        self._filter = StopFilter([*stops, *marked])
        self.decoded = 0
        """Characters decoded so far, those of a stop text and what is held back for it included."""

    @property
    def stopped(self) -> bool:
        return self._filter.stopped

    def push(self, token: int) -> str:
        text = self._detokeniser.push(token)
        self.decoded += len(text)
        return self._filtered(text + self._marks.get(token, ""))

    def finish(self) -> str:
        text = self._detokeniser.finish()
        self.decoded += len(text)
        return self._filtered(text) + self._unmarked(self._filter.finish())

    def _filtered(self, text: str) -> str:
        return self._unmarked(self._filter.push(text)) if text else ""

    def _unmarked(self, text: str) -> str:
        for mark in self._marks.values():
            text = text.replace(mark, "")
        return text


def _marked_stops(decoder: TokenDecoder, stops: Sequence[str]) -> tuple[Mapping[int, str], list[str]]:
    """The control tokens in `stops` → their marks, and the stop texts with these marks in their place."""
    named = {decoder.bytes_of(token).decode(): token for token in decoder.special}
    names = [name for name in sorted(named, key=len, reverse=True) if any(name in stop for stop in stops)]
    marks = {name: chr(_FIRST_MARK + place) for place, name in enumerate(names)}
    marked = []
    for stop in stops:
        text = stop
        for name, mark in marks.items():
            text = text.replace(name, mark)
        marked += [text] if text != stop else []
    return {named[name]: mark for name, mark in marks.items()}, marked
