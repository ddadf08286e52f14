"""A recipe's data section → rows of one of the classes in `preference_rows`: pairs, labelled answers, prompts.

The mixture, prompt template and token cache are those of SFT.

Knows which records have what an objective needs. Knows nothing of trl.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from camelid_core.errors import DataError
from camelid_core.mixing import account_table, mix
from camelid_core.plugins import Host
from camelid_core.records import Message, Record
from camelid_core.token_cache import TokenCache
from camelid_core.token_cache.cache import EncodingProgress
from camelid_core.token_cache.encoded_dataset import EncodedDataset, drops_too_many
from camelid_core.tokenization.encoder import Encoder
from camelid_train.config import DataSection
from camelid_train.data import (
    PreparedData,
    SourceDigests,
    dropped_rows_message,
    refusal_notes,
    refused_rows_message,
    source_notes,
)

from .preference_rows import AnswerRows, LabelledRows, PairRows, PromptRows


@dataclass(frozen=True, slots=True)
class RowBuilder:
    """Records → rows: each of `sides` gives the conversations to encode in one pass over the records; `fact` is a value
    stored for each conversation of the first side; `rows(encodings, cutoff, whole, facts)` builds the rows of both."""

    sides: Sequence[Callable[[Iterable[Record]], Iterator[Record]]]
    fact: Callable[[Record], Any]
    rows: Callable[[Sequence[EncodedDataset], int, bool, list[Any]], AnswerRows[Any]]


def prepare(
    builder: RowBuilder, data: DataSection, encoder: Encoder, host: Host, progress: EncodingProgress | None = None
) -> PreparedData:
    """Raises DataError: no rows, a row without what the objective needs, or too many rows lost to the cut-off."""
    mixed = mix(data, host.datasets, data.eval_rows, split_seed=data.split_seed)
    cache, digests = TokenCache(), SourceDigests(mixed)

    def encode_rows(first: Iterable[Record], again: Callable[[], Iterable[Record]]) -> AnswerRows[Any]:
        facts: list[Any] = []
        streams = [
            _collecting_facts(builder, builder.sides[0](_without_texts(first)), facts),
            *(side(again()) for side in builder.sides[1:]),
        ]
        sides = [cache.encode(stream, encoder, progress=progress) for stream in streams]
        return builder.rows(sides, data.cutoff, data.too_long == "skip", facts)

    train = encode_rows(digests.records(), mixed.records)
    _check(train, data)
    heldout = encode_rows(mixed.heldout, lambda: mixed.heldout)

    def origin(example: int) -> Record:
        return next(islice(builder.sides[0](mixed.records()), int(train.numbers[example]), None))

    prepared = PreparedData(train, heldout, train.counts, digests.uses(), account_table(mixed.account))
    notes = [*source_notes(mixed.account), *refusal_notes(train.encoded, heldout.encoded)]
    return replace(prepared, notes=notes, records=mixed.heldout, origin=origin)


def _collecting_facts(builder: RowBuilder, records: Iterable[Record], facts: list[Any]) -> Iterator[Record]:
    for record in records:
        facts.append(builder.fact(record))
        yield record


def _check(rows: AnswerRows[Any], data: DataSection) -> None:
    names, account = ", ".join(data.sources), rows.counts
    if not account.rows:
        raise DataError(f"{names}: no rows to train on.")
    if len(rows) and not drops_too_many(account.dropped + account.refused, account.rows):
        return
    if 2 * account.refused > account.dropped:
        raise DataError(f"{names}: {refused_rows_message(rows.encoded)}")
    raise DataError(f"{names}: {dropped_rows_message(account, data)}")


def _without_texts(records: Iterable[Record]) -> Iterator[Record]:
    for record in records:
        if record.is_text:
            raise DataError(
                f"row {record.id} of {record.source!r} is a text without turns: it has no answer to prefer or reward. "
                'objective.type="sft" learns from texts.'
            )
        yield record


def _with_chosen(records: Iterable[Record]) -> Iterator[Record]:
    for record in records:
        if record.rejected is None:
            raise DataError(
                f"row {record.id} of {record.source!r} has one answer, where two are compared. "
                "Its file needs the columns 'chosen' and 'rejected'; objective.type=\"kto\" takes 'label' alone."
            )
        yield record


def _with_rejected(records: Iterable[Record]) -> Iterator[Record]:
    return map(_rejected_as_answer, records)


def _rejected_as_answer(record: Record) -> Record:
    answer = Message("assistant", record.rejected or "")
    return replace(record, messages=(*record.messages[:-1], answer), rejected=None, label=False)


def _labelled(records: Iterable[Record]) -> Iterator[Record]:
    """One conversation for each labelled answer: a preference pair gives two."""
    for record in records:
        if record.rejected is None and record.label is None:
            raise DataError(
                f"row {record.id} of {record.source!r} says of no answer whether it is good. "
                "Its file needs the column 'label' with true or false, or the columns 'chosen' and 'rejected'."
            )
        yield replace(record, label=record.label is not False, rejected=None)
        if record.rejected is not None:
            yield _rejected_as_answer(record)


PAIRS = RowBuilder(
    (_with_chosen, _with_rejected), lambda record: None, lambda sides, cutoff, whole, _: PairRows(sides, cutoff, whole)
)
"""Preference pairs: every row with its chosen and its rejected answer (DPO, ORPO)."""
LABELLED = RowBuilder((_labelled,), lambda record: record.label, LabelledRows)
"""Every answer that is labelled good or bad (KTO)."""
PROMPTS = RowBuilder((iter,), lambda record: record.answer, PromptRows)
"""Every prompt with its reference answer (GRPO)."""
