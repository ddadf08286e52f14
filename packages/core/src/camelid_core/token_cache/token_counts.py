"""Token counts of a dataset under a tokenizer, a template and a cut-off: every row counted, nothing trained.

Knows datasets, encoders and the token cache. Knows nothing of training.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from camelid_core.datasets.dataset import Dataset
from camelid_core.records import Record
from camelid_core.tokenization.encoder import Encoder

from .cache import EncodingProgress, TokenCache
from .encoded_dataset import EncodedDataset

BINS = 32


def count_tokens(
    dataset: Dataset | Iterable[Record],
    encoder: Encoder,
    cache: TokenCache | None = None,
    limit: int | None = None,
    *,
    cutoff: int = 512,
    progress: EncodingProgress | None = None,
) -> dict[str, Any]:
    """Counts of a dataset's training rows, or its first `limit`, as plain values that JSON can hold:

    - `rows`, of which `refused` are conversations that the template cannot render, and `dropped` lose their whole
      answer to `cutoff`; `kept` = rows - refused - dropped, of which `truncated` lose their end and `divided` are texts
      longer than that, which become `pieces`;
    - `total_tokens` and `trained_tokens` of what is kept, cut off; `cutoff` itself;
    - `longest`, and `median` and `p95`: lengths in tokens, uncut, of the rows that are not refused;
    - `lengths`: the histogram of those lengths as `[[from, to, rows], …]` with `from <= length < to`.
    """
    records = dataset.load("train", limit) if isinstance(dataset, Dataset) else dataset
    total = dataset.rows or None if isinstance(dataset, Dataset) else None
    if total is not None and limit is not None:
        total = min(total, limit)
    cache = cache or TokenCache()
    return count_encoded(cache.encode(records, encoder, progress=progress, total=total), cutoff)


def count_encoded(encoded: EncodedDataset, cutoff: int) -> dict[str, Any]:
    """The same counts of rows that are encoded already; another cut-off costs nothing."""
    import numpy as np

    view = encoded.view(cutoff)
    cutoff_counts = view.counts
    lengths = encoded.lengths[encoded.lengths > 0]
    median, p95 = (int(value) for value in np.percentile(lengths, [50, 95])) if len(lengths) else (0, 0)
    return {
        "rows": cutoff_counts.rows,
        "kept": cutoff_counts.kept,
        "refused": cutoff_counts.refused,
        "truncated": cutoff_counts.truncated,
        "dropped": cutoff_counts.dropped,
        "divided": cutoff_counts.divided,
        "pieces": cutoff_counts.pieces,
        "total_tokens": cutoff_counts.total_tokens,
        "trained_tokens": cutoff_counts.trained_tokens,
        "cutoff": cutoff,
        "longest": int(lengths.max(initial=0)),
        "median": median,
        "p95": p95,
        "lengths": _histogram(lengths),
    }


def _histogram(lengths: Any) -> list[list[int]]:
    """Bins of equal, round width, from 0 to past the longest row."""
    import numpy as np

    if not len(lengths):
        return []
    width = max(1, -(-(int(lengths.max()) + 1) // BINS))
    width = -(-width // 8) * 8 if width > 8 else width  # of tokens: 8, 16, 24 …
    counted = np.bincount(lengths // width)
    return [[number * width, (number + 1) * width, int(rows)] for number, rows in enumerate(counted)]
