"""The relative sizes of datasets as bars in the terminal.

Knows numbers and names. Knows nothing of what datasets hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from camelid_core.datasets.dataset import Dataset


def chart(datasets: Iterable[Dataset]) -> None:
    """Largest first. One set may be ten thousand times another, so bars are by the logarithm and shares by number."""
    from rich.bar import Bar
    from rich.console import Console
    from rich.table import Table

    sized = sorted(((item.rows or item.later_rows, item) for item in datasets), key=lambda pair: -pair[0])
    known = [(rows, item) for rows, item in sized if rows]
    if not known:
        Console().print("No dataset here has a known size.")
        return
    published = sum(item.rows for _, item in known)
    top, low = math.log10(known[0][0]) or 1.0, math.log10(known[-1][0]) - 0.5
    table = Table(box=None, pad_edge=False, show_header=False, expand=True)
    table.add_column("dataset", no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("bar", ratio=1)
    for rows, item in known:
        share = f"{100 * item.rows / published:.2f} %" if item.rows else "later"
        table.add_row(item.name, f"{rows:,}", share, Bar(1.0, 0.0, _length(rows, low, top)))
    console = Console(highlight=False)
    console.print(table)
    uncounted = [item.name for rows, item in sized if not rows]
    console.print(
        f"{len(sized)} datasets, {published:,} rows. Bars are logarithmic; shares are not."
        + (f" Not counted: {', '.join(uncounted)}." if uncounted else ""),
        markup=False,
    )


def _length(rows: int, low: float, top: float) -> float:
    return max((math.log10(rows) - low) / (top - low), 0.02) if top > low else 1.0
