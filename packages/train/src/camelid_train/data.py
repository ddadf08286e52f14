"""A recipe's data section → tokenised examples, and an honest account of what was kept.

Knows sources, weights, splits and truncation. Knows nothing of batches or models.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from camelid_core.artefacts import DatasetUse
from camelid_core.datasets import Dataset, Source, open_source
from camelid_core.errors import CamelidError, DataError
from camelid_core.plugins import Host
from camelid_core.records import Record
from camelid_core.tokenizing import IGNORE, Encoder, Example

from .config import DataSection

_BATCH = 256
_MOST_DROPPED = 0.3


@dataclass(slots=True)
class Account:
    """What became of the rows of one split; `dropped` rows lost their whole answer to the cut-off."""

    rows: int = 0
    truncated: int = 0
    dropped: int = 0
    total_tokens: int = 0
    trained_tokens: int = 0


@dataclass(slots=True)
class Prepared:
    train: list[Example]
    heldout: list[Example]
    account: Account
    datasets: list[DatasetUse] = field(default_factory=list)


def prepare(section: DataSection, encoder: Encoder, host: Host) -> Prepared:
    """Read, split, render and tokenise everything the section names.

    Raises:
        DataError: no rows, no row with an answer left, or too many rows lost to the cut-off.
    """
    sources = [Source.parse(text) for text in section.sources]
    datasets = [open_source(source.name, host.datasets) for source in sources]
    train: list[tuple[int, Record]] = []
    heldout: list[Record] = []
    for number, (source, dataset) in enumerate(zip(sources, datasets, strict=True)):
        own, held = _split(dataset, section, len(sources))
        train += [(number, record) for record in _weighted(own, source.weight)]
        heldout += held
    if section.rows is not None and len(train) > section.rows:
        train = random.Random(section.split_seed).sample(train, section.rows)
    uses = []
    for number, (source, dataset) in enumerate(zip(sources, datasets, strict=True)):
        used = [record for origin, record in train if origin == number]
        uses.append(DatasetUse(id=source.name, rows=len(used), sha256=_digest(used), licence=dataset.licence))
    account = Account()
    examples = list(_examples((record for _, record in train), encoder, section.cutoff, account))
    _check(account, section)
    heldout_examples = list(_examples(heldout, encoder, section.cutoff, Account()))
    return Prepared(examples, heldout_examples, account, uses)


def _split(dataset: Dataset, section: DataSection, sources: int) -> tuple[list[Record], list[Record]]:
    """Training rows and this dataset's share of the held-out rows; no row is in both."""
    share = -(-section.eval_rows // sources)
    if dataset.heldout_rows:
        held = list(dataset.load("heldout", share)) if share else []
        return list(dataset.load("train", section.rows)), held
    rows = list(dataset.load("train", None))
    count = min(share, len(rows) // 10)
    picked = set(random.Random(section.split_seed).sample(range(len(rows)), count))
    texts = {rows[index].messages for index in picked}  # copies of a held-out row must not be trained on
    return [row for row in rows if row.messages not in texts], [rows[index] for index in sorted(picked)]


def _weighted(records: list[Record], weight: float) -> Iterator[Record]:
    """Every row `floor(weight)` times and an even spread of the rest."""
    whole, part = int(weight), weight % 1
    for index, record in enumerate(records):
        yield from [record] * whole
        if int((index + 1) * part) > int(index * part):
            yield record


def _examples(records: Iterable[Record], encoder: Encoder, cutoff: int, account: Account) -> Iterator[Example]:
    iterator = iter(records)
    while chunk := list(islice(iterator, _BATCH)):
        for example in _encode(chunk, encoder):
            account.rows += 1
            account.truncated += len(example.input_ids) > cutoff
            ids, labels = example.input_ids[:cutoff], example.labels[:cutoff]
            trained = len(labels) - labels.count(IGNORE)
            if not trained:
                account.dropped += 1
                continue
            account.total_tokens += len(ids)
            account.trained_tokens += trained
            yield Example(ids, labels)


def _encode(chunk: list[Record], encoder: Encoder) -> list[Example]:
    try:
        return encoder.examples([record.messages for record in chunk])
    except CamelidError:
        for record in chunk:  # find the row, so that the message can name it
            try:
                encoder.example(record.messages)
            except CamelidError as error:
                raise DataError(f"row {record.id} of {record.source!r}: {error}") from None
        raise


def _check(account: Account, section: DataSection) -> None:
    names = ", ".join(section.sources)
    if not account.rows:
        raise DataError(f"{names}: no rows to train on.")
    if account.dropped > _MOST_DROPPED * account.rows:
        raise DataError(
            f"{names}: {account.dropped:,} of {account.rows:,} rows have no answer left within the cut-off of "
            f"{section.cutoff} tokens. Raise data.cutoff, or shorten the prompts."
        )


def _digest(records: Iterable[Record]) -> str:
    digest = hashlib.sha256()
    for record in records:
        for message in record.messages:
            digest.update("\x1f".join((message.role, message.content, message.context, "")).encode())
        digest.update(b"\x1e")
    return digest.hexdigest()
