"""`mix`: one pass over the sources that decides which rows are kept, and the account of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any

from camelid_core.datasets.dataset import Dataset
from camelid_core.datasets.noted_records import notes_of
from camelid_core.datasets.sources import open_dataset, parse_sources
from camelid_core.errors import DataError
from camelid_core.quality.row_filter import RowAccount, RowFilter
from camelid_core.quality.row_keys import conversation_key
from camelid_core.records import Record
from camelid_core.registry import Registry

from .config import Mixture
from .heldout import HeldOutSelection
from .mixed_dataset import MixedDataset, MixtureSource
from .row_counts import check_caps, rows_per_source

CountingProgress = Callable[[str, int, int], None]
"""Called while sources are counted: which one, rows so far, rows expected (0 if nobody knows)."""

_COUNT_UP_TO = 2_000_000
"""Declared sizes above this are trusted: counting would download or read tens of gigabytes."""
_EVERY = 2000


def mix(
    mixture: Mixture,
    datasets: Registry[Dataset],
    heldout: int = 0,
    progress: CountingProgress | None = None,
    split_seed: int | None = None,
) -> MixedDataset:
    """Open the sources, decide which rows are kept, hold out at most `heldout` of them, and set the counts of the rest.

    `split_seed` decides which rows are held out; without one, the mixture's own seed does.

    Raises:
        UnknownName: a source or lint that is not known.
        UsageError: a cap for something that is no source.
        DataError: no row is left.
    """
    sources = parse_sources(mixture.sources, datasets)
    check_caps(mixture, sources)
    parts = [MixtureSource(s, open_dataset(s.name, datasets), RowAccount(s.name), None) for s in sources]
    for part in parts:
        next(iter(part.dataset.load("train", 1)), None)  # missing data is reported before hours of counting
    held, excluded = _own_heldout(parts, heldout)
    row_filter = RowFilter(mixture.drop_tags, mixture.drop_lints, mixture.deduplicate)
    seed = mixture.seed if split_seed is None else split_seed
    selection = HeldOutSelection(heldout - len(held), seed, row_filter.normalise)
    for number, part in enumerate(parts):
        _filter_source(part, number, row_filter, selection, excluded, progress)
    chosen = selection.result()
    for number, row in chosen.places:
        _hold_out(parts[number], row)
    for part in parts:
        _hold_out_copies(part, chosen.keys)
    _set_row_counts(mixture, parts)
    mixed = MixedDataset(mixture, held + chosen.records, parts, excluded | chosen.keys)
    if not len(mixed):
        raise DataError(f"{', '.join(mixture.sources)}: no rows to train on.{_drop_reasons(parts)}")
    return mixed


def _own_heldout(parts: list[MixtureSource], count: int) -> tuple[list[Record], frozenset[int]]:
    """An equal share from every source that has a held-out part of its own, and the keys of those rows."""
    held: list[Record] = []
    for number, part in enumerate(parts):
        share = count * (number + 1) // len(parts) - count * number // len(parts)
        if part.dataset.heldout_rows and share:
            held += islice(part.dataset.load("heldout", share), share)
    return held, frozenset(map(conversation_key, held))


def _filter_source(
    part: MixtureSource,
    number: int,
    row_filter: RowFilter,
    selection: HeldOutSelection,
    excluded: frozenset[int],
    progress: CountingProgress | None,
) -> None:
    """Count a source and mark the rows that are kept, or trust its declared size."""
    name, dataset, account = part.source.name, part.dataset, part.account
    trusted = dataset.rows and (dataset.heldout_rows or dataset.rows > _COUNT_UP_TO)
    if trusted and not row_filter.active:
        part.size = account.read = account.kept = dataset.rows
        if selection.active and not dataset.heldout_rows:
            for row, record in enumerate(dataset.load("train", _COUNT_UP_TO // 20)):
                selection.add_row(record, number, row)
        return
    part.mask = bytearray()
    row_filter.start_source(name)
    own = bool(dataset.heldout_rows)
    records = dataset.load("train", None)
    for row, record in enumerate(records):
        if progress is not None and row % _EVERY == 0:
            progress(name, row, dataset.rows)
        reason = row_filter.reason(record)
        if not reason and excluded and conversation_key(record, row_filter.normalise) in excluded:
            reason = HELD_OUT
        part.mask.append(not reason)
        if reason:
            account.dropped[reason] += 1
        elif not own:
            selection.add_row(record, number, row)
    account.notes = notes_of(records)
    account.read = len(part.mask)
    part.size = account.kept = sum(part.mask)
    if progress is not None:
        progress(name, account.read, account.read)


HELD_OUT = "held out"
"""The reason in an account for held-out rows and for their duplicates."""


def _hold_out(part: MixtureSource, row: int) -> None:
    if part.mask is not None:
        part.mask[row] = 0
        part.size -= 1
        part.account.kept -= 1
        part.account.dropped[HELD_OUT] += 1


def _hold_out_copies(part: MixtureSource, keys: frozenset[int]) -> None:
    """Copies, in a source whose rows are not held out themselves, of rows held out from another."""
    if part.mask is None or not part.dataset.heldout_rows or not keys:
        return
    for row, record in enumerate(part.dataset.load("train", None)):
        if part.mask[row] and conversation_key(record) in keys:
            _hold_out(part, row)


def _set_row_counts(mixture: Mixture, parts: list[MixtureSource]) -> None:
    shares = rows_per_source(mixture, [part.source for part in parts], [part.size for part in parts])
    for part, count in zip(parts, shares, strict=True):
        part.count = part.account.taken = count


def _drop_reasons(parts: list[MixtureSource]) -> str:
    dropped: Counter[str] = Counter()
    for part in parts:
        dropped.update(part.account.dropped)
    return " Left out: " + ", ".join(f"{why} {rows:,}" for why, rows in dropped.most_common()) + "." if dropped else ""


def account_table(account: list[RowAccount]) -> list[dict[str, Any]]:
    """The account as a table: rows before and after for each source, and why."""
    return [
        {
            "source": part.source,
            "before": part.read,
            "after": part.taken,
            "left out": ", ".join(f"{why} {rows:,}" for why, rows in part.reasons.items()) or "–",
        }
        for part in account
    ]
