"""A recipe's data section → rows of one of the kinds in `rows`, through the same mixture, template and token cache.

Knows which records have what an objective needs. Knows nothing of trl.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from camelid_core.errors import DataError
from camelid_core.mixing import lines, mix
from camelid_core.plugins import Host
from camelid_core.records import Message, Record
from camelid_core.token_cache import TokenCache
from camelid_core.token_cache.cache import EncodingProgress
from camelid_core.token_cache.encoded_dataset import EncodedDataset
from camelid_core.tokenization.encoder import Encoder
from camelid_train.config import DataSection
from camelid_train.data import SourceDigests, PreparedData, too_many_dropped

from .preference_rows import Pairs, Rows, Tasks, Verdicts

_MOST_DROPPED = 0.3


@dataclass(frozen=True, slots=True)
class Kind:
    """Records → rows: `sides` are the conversations to encode, as often as they are gone through; `fact` is what is
    kept of each conversation of the first side; `rows(encodings, cutoff, whole, facts)` are made of both."""

    sides: Sequence[Callable[[Iterable[Record]], Iterator[Record]]]
    fact: Callable[[Record], Any]
    rows: Callable[[Sequence[EncodedDataset], int, bool, list[Any]], Rows[Any]]


def prepare(
    kind: Kind, data: DataSection, encoder: Encoder, host: Host, progress: EncodingProgress | None = None
) -> PreparedData:
    """Raises DataError: no rows, a row without what the kind needs, or too many rows lost to the cut-off."""
    mixed = mix(data, host.datasets, data.eval_rows, split_seed=data.split_seed)
    cache, digests = TokenCache(), SourceDigests(mixed)

    def made(first: Iterable[Record], again: Callable[[], Iterable[Record]]) -> Rows[Any]:
        facts: list[Any] = []
        streams = [_noted(kind, kind.sides[0](first), facts), *(side(again()) for side in kind.sides[1:])]
        sides = [cache.encode(stream, encoder, progress=progress) for stream in streams]
        return kind.rows(sides, data.cutoff, data.too_long == "skip", facts)

    train = made(digests.records(), mixed.records)
    _check(train, data)
    heldout = made(mixed.heldout, lambda: mixed.heldout)

    def origin(example: int) -> Record:
        return next(islice(kind.sides[0](mixed.records()), int(train.numbers[example]), None))

    prepared = PreparedData(train, heldout, train.account, digests.uses(), lines(mixed.account))
    return replace(prepared, records=mixed.heldout, origin=origin)


def _noted(kind: Kind, records: Iterable[Record], facts: list[Any]) -> Iterator[Record]:
    for record in records:
        facts.append(kind.fact(record))
        yield record


def _check(rows: Rows[Any], data: DataSection) -> None:
    names, account = ", ".join(data.sources), rows.account
    if not account.rows:
        raise DataError(f"{names}: no rows to train on.")
    if not len(rows) or account.dropped > _MOST_DROPPED * account.rows:
        raise DataError(f"{names}: {too_many_dropped(account, data)}")


def _better(records: Iterable[Record]) -> Iterator[Record]:
    for record in records:
        if record.rejected is None:
            raise DataError(
                f"row {record.id} of {record.source!r} has one answer, where two are compared. "
                "Its file needs the columns 'chosen' and 'rejected'; objective.type=\"kto\" takes 'label' alone."
            )
        yield record


def _worse(records: Iterable[Record]) -> Iterator[Record]:
    return map(_with_worse, records)


def _with_worse(record: Record) -> Record:
    answer = Message("assistant", record.rejected or "")
    return replace(record, messages=(*record.messages[:-1], answer), rejected=None, label=False)


def _judged(records: Iterable[Record]) -> Iterator[Record]:
    """One conversation for each verdict: a pair gives two."""
    for record in records:
        if record.rejected is None and record.label is None:
            raise DataError(
                f"row {record.id} of {record.source!r} says of no answer whether it is good. "
                "Its file needs the column 'label' with true or false, or the columns 'chosen' and 'rejected'."
            )
        yield replace(record, label=record.label is not False, rejected=None)
        if record.rejected is not None:
            yield _with_worse(record)


PAIRS = Kind((_better, _worse), lambda record: None, lambda sides, cutoff, whole, _: Pairs(sides, cutoff, whole))
"""Every row with its better and its worse answer."""
VERDICTS = Kind((_judged,), lambda record: record.label, Verdicts)
"""Every answer that somebody called good or bad."""
TASKS = Kind((iter,), lambda record: record.answer, Tasks)
"""Every prompt with the answer to measure others by."""
