"""The rules that a dataset keeps. Knows datasets and records; knows no template."""

from __future__ import annotations

from collections import Counter
from itertools import islice

from camelid_core.datasets.dataset import Dataset, Split
from camelid_core.licences import UNKNOWN, licence_id
from camelid_core.records import Record

from .description_rules import assert_described

_SHOWN = 3


def assert_dataset_contract(dataset: Dataset) -> None:
    """What Camelid relies on in every dataset whose rows are on this machine:

    - it has a name that can be typed, a sentence of help, a licence as SPDX writes it and at least one language;
    - `missing()` is empty, and each split has the rows that `rows` and `heldout_rows` say;
    - `load` gives the same rows each time, and with a limit the first ones of them;
    - each row has an answer or is a text, and an id of its own within its split;
    - no conversation of the held-out split is in the training split.
    """
    assert_described(dataset)
    name = dataset.name
    assert dataset.licence != UNKNOWN, f"{name}: no licence; write it as SPDX does, in lower case, such as cc0-1.0"
    expected = licence_id(dataset.licence)
    assert dataset.licence == expected, f"{name}: the licence is {dataset.licence!r}; write {expected!r}"
    assert not isinstance(dataset.languages, str), f"{name}: languages is one text; write a tuple of codes, ('en',)"
    assert all(dataset.languages), f"{name}: a language is empty; write codes such as 'en'"
    assert dataset.languages, f"{name}: no language; write codes such as ('en',)"
    missing = dataset.missing()
    assert not missing, f"{name}: its rows are not here: {missing}"
    train, heldout = (_assert_split(dataset, split) for split in ("train", "heldout"))
    both = {record.messages for record in train} & {record.messages for record in heldout}
    assert not both, f"{name}: {len(both)} held-out rows are trained on, such as {next(iter(both), '')!r}"


def _assert_split(dataset: Dataset, split: Split) -> list[Record]:
    """The rows of a split, once they keep the rules."""
    said = dataset.rows if split == "train" else dataset.heldout_rows
    if split == "heldout" and not said:
        return []  # one is cut from the training split
    where = f"{dataset.name}, {split}"
    rows = list(dataset.load(split, None))
    assert rows, f"{where}: it has no rows"
    assert said in (0, len(rows)), f"{where}: it says that it has {said:,} rows, and has {len(rows):,}"
    for number, row in enumerate(rows, 1):
        _assert_row(row, f"{where}, row {number}")
    twice = [ident for ident, count in Counter(row.id for row in rows).items() if count > 1]
    assert not twice, f"{where}: several rows have the id {twice[0]!r}; checkpoints and reports name rows by it"
    for limit in (0, min(_SHOWN, len(rows))):
        first = list(islice(dataset.load(split, limit), limit + 1))
        assert len(first) == limit, f"{where}: load with a limit of {limit} does not give {limit} rows"
        assert first == rows[:limit], f"{where}: load gives other rows when it is called again; seed what is random"
    return rows


def _assert_row(row: Record, where: str) -> None:
    assert isinstance(row, Record), f"{where}: it is {row!r}; load yields camelid_core.records.Record"
    assert row.messages, f"{where}: it has no messages"
    if not row.is_text:
        assert row.messages[-1].role == "assistant", f"{where}: the last message is no answer"
        assert row.answer.strip(), f"{where}: the answer is empty; nothing could be learned from it"
    else:
        assert row.messages[0].content.strip(), f"{where}: the text is empty"
    assert row.id, f"{where}: it has no id"
