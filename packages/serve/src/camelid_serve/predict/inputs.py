"""A file of questions or a dataset → rows, as a stream: a row that cannot be read is an error of that row alone.

Knows the forms of files, the record formats and the datasets of core. Knows nothing of how rows are answered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from camelid_core.artefacts import DatasetUse
from camelid_core.datasets.dataset import Dataset
from camelid_core.datasets.sources import open_source
from camelid_core.errors import DataError, UsageError
from camelid_core.integrity import sha256
from camelid_core.paths import HUB, is_existing_path, validated_path
from camelid_core.readers import SUFFIXES, Columns, Faults, Reading, RowFault
from camelid_core.readers import choose as choose_reader
from camelid_core.records import Message, Record
from camelid_core.writers.row_formats import to_alpaca

from camelid_serve.json_lines import line_of

PREDICTIONS = "predictions.jsonl"
"""The file of answered rows in an artefact of kind `predictions`."""

ANSWERED_BY = {
    "instruction": ("output", "response"),
    "prompt": ("completion", "response", "chosen"),
    "question": ("answer", "response"),
    "query": ("response", "answer"),
    "problem": ("solution",),
    "inputs": ("targets",),
}
"""Columns that ask → those of their answers, which rows that are yet to be answered may lack."""


@dataclass(frozen=True, slots=True)
class Row:
    """`fields` as they stood in the file; `messages` is what to ask, empty where `error` says why not; `reference`
    is the answer to compare with, empty where there is none."""

    number: int
    fields: Mapping[str, Any]
    messages: tuple[Message, ...] = ()
    error: str = ""
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Survey:
    """A whole input, gone through once. `use` is for the manifest; `first_error` is that of the first bad row."""

    use: DatasetUse
    bad: int
    referenced: int
    first_error: str = ""

    @property
    def rows(self) -> int:
        return self.use.rows


@dataclass(frozen=True, slots=True)
class Input:
    """Rows that can be gone through as often as needed and are never all in memory."""

    name: str
    open: Callable[[], Iterator[Row]]
    licence: str = "unknown"
    path: Path | None = None

    def rows(self, limit: int | None = None) -> Iterator[Row]:
        """In order, numbered from 1."""
        return islice(self.open(), limit)

    def survey(self, limit: int | None = None) -> Survey:
        """Counts, and a digest of the file, or of a dataset's rows.

        Raises:
            DataError: the input cannot be read, has no rows, or none that can be asked.
        """
        digest = hashlib.sha256()
        bad = referenced = 0
        count, first_error = 0, ""
        for row in self.rows(limit):
            count = row.number
            bad += bool(row.error)
            referenced += bool(row.reference)
            first_error = first_error or row.error
            if self.path is None:
                digest.update(line_of(row.fields))
        if not count:
            raise DataError(f"{self.name} holds no rows.", "dataset_empty")
        if bad == count:
            raise DataError(f"{self.name}: no row can be asked. {first_error}")
        whole = sha256(self.path) if self.path else digest.hexdigest()
        return Survey(
            DatasetUse(id=self.name, rows=count, sha256=whole, licence=self.licence), bad, referenced, first_error
        )


def open_input(source: str, columns: str = "", reference: str = "") -> Input:
    """A data file, or a dataset by name: of that the held-out part where it has one. `columns` maps a file's
    columns, `reference` names the column with the answers to compare with instead of the rows' own.

    Raises:
        DataError: the file cannot be read.
        UnknownName: neither a file nor a dataset.
        UsageError: no such file, a mapping that says too little, or one for a dataset.
    """
    path = validated_path(source, "input")
    mapping = Columns.parse(columns, answered=False) if columns.strip() else None
    if is_existing_path(source) and path.is_file():
        return Input(path.name, lambda: _of_file(path, mapping, reference), path=path)
    if path.suffix.lower() in SUFFIXES and not source.startswith(HUB):
        raise UsageError(f"{source!r} is no file here; give a data file or the name of a dataset.")
    from camelid_core.plugins import load_host

    dataset = open_source(source, load_host().datasets)
    if mapping is not None:
        raise UsageError(f"{source!r} is a dataset, whose columns are known; a mapping is for files.")
    if missing := dataset.missing():
        raise DataError(missing)
    return Input(dataset.name, lambda: _of_dataset(dataset, reference), dataset.licence)


def _of_file(path: Path, mapping: Columns | None, reference: str) -> Iterator[Row]:
    faults = _Kept()
    chosen = choose_reader(path, "", mapping)
    reading = Reading(path.stem, mapping, faults=faults)
    source = chosen.rows(path, reading)
    count = 0
    for number, fields in source:
        for error in faults.taken():
            count += 1
            yield Row(count, {}, error=error)
        count += 1
        try:
            record = chosen.record(fields if mapping else _with_answer(fields), number, reading)
            _refuse_blank(record)
        except RowFault as fault:
            yield Row(count, fields, error=str(fault.at(source.where())))
        else:
            yield Row(count, fields, record.prompt, reference=_reference(record, fields, reference))
    for error in faults.taken():
        count += 1
        yield Row(count, {}, error=error)


def _of_dataset(dataset: Dataset, reference: str) -> Iterator[Row]:
    records = dataset.load("heldout" if dataset.heldout_rows else "train", None)
    for number, record in enumerate(records, 1):
        fields = _fields(record)
        yield Row(number, fields, record.prompt, reference=_reference(record, fields, reference))


def _refuse_blank(record: Record) -> None:
    """A model says something even to nothing; nobody wants to read it.

    Raises:
        RowFault: the question is empty.
    """
    for last in record.prompt[-1:]:
        if not (last.content.strip() or last.context.strip()):
            raise RowFault("no_text", "the question is empty.")


def _with_answer(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row of a known format, though nobody has answered it yet."""
    for asks, answers in ANSWERED_BY.items():
        if asks in fields and not any(answer in fields for answer in answers):
            return {answers[0]: "", **fields}
    return fields


def _reference(record: Record, fields: Mapping[str, Any], column: str) -> str:
    if not column:
        return record.answer
    value = fields.get(column)
    return str(value) if isinstance(value, str | int | float) else ""


def _fields(record: Record) -> dict[str, Any]:
    try:
        said = to_alpaca(record)
    except RowFault:
        said = {"messages": [{"role": message.role, "content": message.text} for message in record.messages]}
    return {"id": record.id, **said}


class _Kept(Faults):
    """Faults of rows that a reader passes over, kept until they are taken: each is a row of the result."""

    def __init__(self) -> None:
        super().__init__(strict=False)
        self._waiting: list[str] = []

    def add(self, error: DataError) -> None:
        self._waiting.append(str(error))

    def taken(self) -> list[str]:
        waiting, self._waiting = self._waiting, []
        return waiting
