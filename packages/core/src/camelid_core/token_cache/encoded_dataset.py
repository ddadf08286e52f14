"""Tokenised rows as sequences that stay on disk (memory-mapped): whole rows, and rows cut off at a length. A text by
itself is not cut off but divided into pieces of that length.

Only two numbers per row are held in memory, how many tokens and how many trained tokens it has, so
that lengths, order and counts need no reading. Knows shards. Knows nothing of how they are made.
"""

from __future__ import annotations

import fcntl
import os
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from camelid_core.errors import DataError
from camelid_core.file_permissions import make_private_directory
from camelid_core.tokenization.encoder import IGNORE, Example

from .shards import ShardLayout

if TYPE_CHECKING:
    import numpy as np

    IntArray = np.ndarray[Any, np.dtype[np.int64]]
    BoolArray = np.ndarray[Any, np.dtype[np.bool_]]

RowT = TypeVar("RowT")

_MAX_OPEN_SHARDS = 32
"""Shards that are memory-mapped at once: each costs a file descriptor."""

MAX_DROPPED_SHARE = 0.3
"""The largest share of its rows that a dataset may lose to the cut-off."""


def drops_too_many(dropped: float, rows: float) -> bool:
    """Whether a cut-off loses so many rows that training refuses the dataset and pages warn of it."""
    return dropped > MAX_DROPPED_SHARE * rows


@dataclass(slots=True)
class CutoffCounts:
    """What a cut-off does to rows: `truncated` rows are kept without their end, `dropped` rows lose their whole answer
    to it or are left out for their length, `refused` rows are conversations that the template cannot render. `texts`
    are rows without turns; `divided` of these are longer, and became `pieces`. Tokens are those that are kept."""

    rows: int = 0
    truncated: int = 0
    dropped: int = 0
    total_tokens: int = 0
    trained_tokens: int = 0
    refused: int = 0
    texts: int = 0
    divided: int = 0
    pieces: int = 0

    @property
    def kept(self) -> int:
        return self.rows - self.dropped - self.refused


class DirectoryInUse:
    """A shared lock on a directory: while it is held the directory is not pruned. It ends with the process."""

    def __init__(self, directory: Path) -> None:
        make_private_directory(directory)
        self._descriptor = os.open(directory, os.O_RDONLY)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            os.close(self._descriptor)


class RowSequence(Sequence[RowT]):
    """A sequence of rows, by index or slice."""

    @abstractmethod
    def row(self, number: int) -> RowT:
        """Row `number`, which is in range."""

    @overload
    def __getitem__(self, index: int) -> RowT: ...
    @overload
    def __getitem__(self, index: slice) -> list[RowT]: ...
    def __getitem__(self, index: int | slice) -> RowT | list[RowT]:
        if isinstance(index, slice):
            return [self.row(number) for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return self.row(index % len(self))


class EncodedDataset(RowSequence[Example]):
    """All rows, none of them cut off, in the order they were given. `lengths` and `trained` count tokens per row;
    `texts` says which rows are texts by themselves, `refusals` of the first rows without tokens why the template cannot
    render them."""

    def __init__(
        self,
        layouts: Sequence[ShardLayout],
        lengths: IntArray,
        trained: IntArray,
        texts: BoolArray,
        in_use: DirectoryInUse | None = None,
        refusals: Sequence[str] = (),
    ) -> None:
        import numpy as np

        self.lengths = lengths
        self.trained = trained
        self.texts = texts
        self.refusals = tuple(refusals)
        self._layouts = list(layouts)
        self._starts = np.cumsum([0, *(layout.rows for layout in layouts)])
        self._open: OrderedDict[int, Any] = OrderedDict()
        self._in_use = in_use

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def refused(self) -> int:
        """How many conversations the template cannot render."""
        return int((self.lengths == 0).sum())

    def refusal_note(self, what: str = "row") -> str:
        """A sentence on those rows, the first of them by name; empty if there are none."""
        if not self.refused:
            return ""
        more = f"; and {self.refused - len(self.refusals):,} more" if self.refused > len(self.refusals) else ""
        named = "; ".join(each.rstrip(".") for each in self.refusals)
        rows = f"{self.refused:,} {what}s were" if self.refused > 1 else f"1 {what} was"
        return f"{rows} left out, for which the template has no form: {named}{more}."

    def row(self, number: int, cutoff: int | None = None, skip: int = 0) -> Example:
        """Row `number`, or its first `cutoff` tokens after those to `skip`."""
        import numpy as np

        shard = int(np.searchsorted(self._starts, number, side="right")) - 1
        data, offsets = self._shard(shard)
        layout, inside = self._layouts[shard], number - int(self._starts[shard])
        start, end = int(offsets[inside]) + skip, int(offsets[inside + 1])
        end = end if cutoff is None else min(end, start + cutoff)
        ids = np.frombuffer(data, np.int32, end - start, layout.ids + 4 * start)
        trained = _bits(data, layout.trained, start, end)
        return Example(ids.tolist(), np.where(trained, ids, IGNORE).tolist())

    def view(self, cutoff: int, whole: bool = False) -> CutoffView:
        """The rows that still have trained tokens when cut off at `cutoff` tokens, and the texts in pieces of that
        length; `whole` leaves out longer rows and texts instead."""
        return CutoffView(self, cutoff, whole)

    def trained_within(self, cutoff: int) -> IntArray:
        """How many of each row's first `cutoff` tokens are trained; of a text all are, in one piece or another."""
        import numpy as np

        counts, cut = self.trained.copy(), self.cut_off(cutoff)
        for shard, layout in enumerate(self._layouts):
            rows = slice(int(self._starts[shard]), int(self._starts[shard + 1]))
            if cut[rows].any():
                data, offsets = self._shard(shard)
                so_far = np.concatenate([[0], np.cumsum(_bits(data, layout.trained, 0, layout.tokens))])
                within = so_far[np.minimum(offsets[:-1] + cutoff, offsets[1:])] - so_far[offsets[:-1]]
                counts[rows] = np.where(cut[rows], within, counts[rows])
        return counts

    def cut_off(self, cutoff: int) -> BoolArray:
        """The rows that `cutoff` tokens cut off: the longer ones, except texts."""
        return (self.lengths > cutoff) & ~self.texts

    def _shard(self, index: int) -> tuple[Any, Any]:
        """The memory-mapped file of a shard and where its rows start; the least recently used one is closed."""
        import numpy as np

        if index in self._open:
            self._open.move_to_end(index)
        else:
            layout = self._layouts[index]
            try:
                data = np.memmap(layout.path, np.uint8, "r")
            except (OSError, ValueError):
                raise DataError(
                    f"{str(layout.path)!r} is gone from the token cache while it was read. Start again: it is remade."
                ) from None
            self._open[index] = data, np.frombuffer(data, np.int64, layout.rows + 1, layout.offsets)
            if len(self._open) > _MAX_OPEN_SHARDS:
                self._open.popitem(last=False)
        entry: tuple[Any, Any] = self._open[index]
        return entry


def pieces(lengths: IntArray, texts: BoolArray, cutoff: int) -> IntArray:
    """How many examples each row gives: a text one for every `cutoff` tokens or part of them, another row one. The last
    piece has two tokens at least, one of them from the piece before it if need be: what is alone predicts nothing."""
    import numpy as np

    return np.where(texts, -(-lengths // cutoff), 1)


class CutoffView(RowSequence[Example]):
    """Rows cut off at `cutoff` tokens, texts in pieces; rows without trained tokens are left out and counted.

    `lengths` are known without reading; `rows` are the numbers, in the whole dataset, of the rows that the examples are
    made of.
    """

    def __init__(self, encoded: EncodedDataset, cutoff: int, whole: bool = False) -> None:
        import numpy as np

        trained = encoded.trained_within(cutoff)
        trained[encoded.texts & (encoded.lengths < 2)] = 0  # no token follows another
        if whole:
            trained[encoded.lengths > cutoff] = 0
        kept = np.flatnonzero(trained)
        parts = pieces(encoded.lengths, encoded.texts, cutoff)[kept]
        self.encoded = encoded
        self.cutoff = cutoff
        self.rows = np.repeat(kept, parts)
        lengths, number = (
            encoded.lengths[self.rows],
            np.arange(len(self.rows)) - np.repeat(np.cumsum(parts) - parts, parts),
        )
        self._skipped, after = (np.minimum(at * cutoff, np.maximum(lengths - 2, 0)) for at in (number, number + 1))
        last = number + 1 == np.repeat(parts, parts)
        self.lengths = np.where(last, np.minimum(lengths - self._skipped, cutoff), after - self._skipped)
        refused = encoded.refused
        self.counts = CutoffCounts(
            rows=len(encoded),
            truncated=int(encoded.cut_off(cutoff)[kept].sum()),
            dropped=len(encoded) - len(kept) - refused,
            total_tokens=int(self.lengths.sum()),
            trained_tokens=int(trained.sum()),
            refused=refused,
            texts=int(encoded.texts.sum()),
            divided=int((parts > 1).sum()),
            pieces=int(parts[parts > 1].sum()),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, number: int) -> Example:
        return self.encoded.row(int(self.rows[number]), int(self.lengths[number]), int(self._skipped[number]))


def _bits(data: Any, at: int, start: int, end: int) -> Any:
    """Bits `start` to `end` of those packed from byte `at` on, as a boolean array."""
    import numpy as np

    first = start // 8
    packed = np.frombuffer(data, np.uint8, -(-end // 8) - first, at + first)
    return np.unpackbits(packed, count=end - 8 * first)[start - 8 * first :].view(np.bool_)
