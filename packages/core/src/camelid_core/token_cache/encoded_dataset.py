"""Tokenised rows as sequences that stay on disk: whole rows, and rows cut off at a length.

Only two numbers per row are held in memory, how long it is and how many of its tokens are learnt,
so that lengths, order and counts need no reading. Knows shards. Knows nothing of how they are made.
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

RowT = TypeVar("RowT")

_MAX_OPEN_SHARDS = 32
"""Shards mapped at once: each costs a file descriptor."""


@dataclass(slots=True)
class CutoffCounts:
    """What becomes of rows under a cut-off: `truncated` rows are longer, `dropped` rows lose their whole answer to it
    or are left out for their length, `refused` rows are conversations the template has no form for. Tokens are those
    kept."""

    rows: int = 0
    truncated: int = 0
    dropped: int = 0
    total_tokens: int = 0
    trained_tokens: int = 0
    refused: int = 0


class DirectoryInUse:
    """A directory that is in use: it is not pruned. The lock goes with the process, however that ends."""

    def __init__(self, directory: Path) -> None:
        make_private_directory(directory)
        self._descriptor = os.open(directory, os.O_RDONLY)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            os.close(self._descriptor)


class RowSequence(Sequence[RowT]):
    """Rows by number, from either end, and by slice."""

    @abstractmethod
    def row(self, number: int) -> RowT:
        """Row `number`, which is there."""

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
    """All rows, none of them cut, in the order they were given. `lengths` and `trained` count tokens per row."""

    def __init__(
        self, places: Sequence[ShardLayout], lengths: IntArray, trained: IntArray, lease: DirectoryInUse | None = None
    ) -> None:
        import numpy as np

        self.lengths = lengths
        self.trained = trained
        self._places = list(places)
        self._starts = np.cumsum([0, *(place.rows for place in places)])
        self._open: OrderedDict[int, Any] = OrderedDict()
        self._lease = lease

    def __len__(self) -> int:
        return len(self.lengths)

    def row(self, number: int, cutoff: int | None = None) -> Example:
        """Row `number`, or its first `cutoff` tokens."""
        import numpy as np

        shard = int(np.searchsorted(self._starts, number, side="right")) - 1
        data, offsets = self._shard(shard)
        place, inside = self._places[shard], number - int(self._starts[shard])
        start, end = int(offsets[inside]), int(offsets[inside + 1])
        end = end if cutoff is None else min(end, start + cutoff)
        ids = np.frombuffer(data, np.int32, end - start, place.ids + 4 * start)
        trained = _bits(data, place.trained, start, end)
        return Example(ids.tolist(), np.where(trained, ids, IGNORE).tolist())

    def view(self, cutoff: int, whole: bool = False) -> CutoffView:
        """The rows that still have something to learn when cut off at `cutoff` tokens; `whole` leaves out longer ones
        instead of cutting them."""
        return CutoffView(self, cutoff, whole)

    def trained_within(self, cutoff: int) -> IntArray:
        """How many of each row's first `cutoff` tokens are learnt."""
        import numpy as np

        counts = self.trained.copy()
        for shard, place in enumerate(self._places):
            rows = slice(int(self._starts[shard]), int(self._starts[shard + 1]))
            if (self.lengths[rows] > cutoff).any():
                data, offsets = self._shard(shard)
                so_far = np.concatenate([[0], np.cumsum(_bits(data, place.trained, 0, place.tokens))])
                counts[rows] = so_far[np.minimum(offsets[:-1] + cutoff, offsets[1:])] - so_far[offsets[:-1]]
        return counts

    def _shard(self, index: int) -> tuple[Any, Any]:
        """The mapped file of a shard and where its rows start; the longest unused is let go."""
        import numpy as np

        if index in self._open:
            self._open.move_to_end(index)
        else:
            place = self._places[index]
            try:
                data = np.memmap(place.path, np.uint8, "r")
            except (OSError, ValueError):
                raise DataError(
                    f"{str(place.path)!r} is gone from the token cache while it was read. Start again: it is remade."
                ) from None
            self._open[index] = data, np.frombuffer(data, np.int64, place.rows + 1, place.offsets)
            if len(self._open) > _MAX_OPEN_SHARDS:
                self._open.popitem(last=False)
        entry: tuple[Any, Any] = self._open[index]
        return entry


class CutoffView(RowSequence[Example]):
    """Rows cut off at `cutoff` tokens; those with nothing left to learn are left out. `counts` says how many.

    `lengths` are known without reading; `rows` says which row of the whole each one is.
    """

    def __init__(self, encoded: EncodedDataset, cutoff: int, whole: bool = False) -> None:
        import numpy as np

        longer = encoded.lengths > cutoff
        trained = encoded.trained_within(cutoff)
        if whole:
            trained[longer] = 0
        self.encoded = encoded
        self.cutoff = cutoff
        self.rows = np.flatnonzero(trained)
        self.lengths = np.minimum(encoded.lengths, cutoff)[self.rows]
        refused = int((encoded.lengths == 0).sum())
        self.counts = CutoffCounts(
            rows=len(encoded),
            truncated=0 if whole else int(longer.sum()),
            dropped=len(encoded) - len(self.rows) - refused,
            total_tokens=int(self.lengths.sum()),
            trained_tokens=int(trained.sum()),
            refused=refused,
        )

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, number: int) -> Example:
        return self.encoded.row(int(self.rows[number]), self.cutoff)


def _bits(data: Any, at: int, start: int, end: int) -> Any:
    """Bits `start` to `end` of those packed from byte `at` on, as booleans."""
    import numpy as np

    first = start // 8
    packed = np.frombuffer(data, np.uint8, -(-end // 8) - first, at + first)
    return np.unpackbits(packed, count=end - 8 * first)[start - 8 * first :].view(np.bool_)
