"""Dataset mixing (interleaving): several sources as one stream, with weights, temperature, caps, a total and
deduplication, and an account of every row.

Knows sizes and order. Knows nothing of templates, tokens or batches.

One pass over the sources decides which rows are kept (one byte per row), so that the stream itself only reads.
The stream is the same for the same mixture and seed, and begins at any position: `records(start=k)` is
`list(records())[k:]`. Sources that nothing is left out of and that declare their size (those with a
held-out part of their own, and very long ones) are not counted: their first rows are taken.
"""

from __future__ import annotations

from .config import Mixture
from .mixed_dataset import MixedDataset
from .row_counts import rows_per_source
from .row_selection import CountingProgress, account_table, mix

__all__ = [
    "CountingProgress",
    "MixedDataset",
    "Mixture",
    "account_table",
    "mix",
    "rows_per_source",
]
