"""A data file or a dataset → rows to answer, as a stream: an unreadable row is an error of that row alone.

Knows the formats of files, the record formats and the datasets of core. Knows nothing of how rows are answered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import islice
from pathlib import Path
from typing import Any

from camelid_core.artefacts import DatasetUse
from camelid_core.datasets.dataset import Dataset
from camelid_core.datasets.noted_records import notes_of
from camelid_core.datasets.sources import open_dataset
from camelid_core.errors import DataError, UsageError
from camelid_core.integrity import sha256
from camelid_core.paths import HUB_PREFIX, is_existing_path, validated_path
from camelid_core.readers import (
    Columns,
    Faults,
    ReadContext,
    RowFault,
    choose_reader,
    has_data_suffix,
    uncompressed_name,
)
from camelid_core.readers.text_values import is_absent
from camelid_core.records import NO_QUESTION, Message, Record
from camelid_core.writers.row_formats import to_alpaca

from camelid_serve.config import PredictConfig
from camelid_serve.json_lines import to_json_line
from camelid_serve.presets import SUFFIXES as PROMPT_SUFFIXES
from camelid_serve.presets import by_name, with_suffix

from .result_columns import SAME_NAMES, may_collide, result_columns

PREDICTIONS = "predictions.jsonl"
"""The file of answered rows in an artefact of kind `predictions`."""

ANSWER_COLUMNS = {
    "instruction": ("output", "response"),
    "prompt": ("completion", "response", "chosen"),
    "question": ("answer", "response"),
    "query": ("response", "answer"),
    "problem": ("solution",),
    "inputs": ("targets",),
}
"""Prompt columns → the answer columns of the same format, which rows to be answered may lack."""


@dataclass(frozen=True, slots=True)
class InputRow:
    """`fields` as they are in the file; `messages` is the prompt, empty where `error` says why the row is invalid;
    `gold` is its gold answer, empty where there is none."""

    number: int
    fields: Mapping[str, Any]
    messages: tuple[Message, ...] = ()
    error: str = ""
    gold: str = ""


@dataclass(frozen=True, slots=True)
class InputSummary:
    """Counts over a whole input: `invalid` rows and rows `with_gold` answers. `use` is for the manifest; `first_error`
    is that of the first invalid row; `columns` names the result's columns beside the input's."""

    use: DatasetUse
    invalid: int
    with_gold: int
    first_error: str = ""
    columns: Mapping[str, str] = field(default_factory=lambda: SAME_NAMES)

    @property
    def rows(self) -> int:
        return self.use.rows


@dataclass(frozen=True, slots=True)
class PredictionInput:
    """A source of rows that can be iterated again and never holds them all in memory. `notes()` are sentences on what
    took no part in the prompts, of the rows that were read last."""

    name: str
    open: Callable[[], Iterator[InputRow]]
    licence: str = "unknown"
    path: Path | None = None
    notes: Callable[[], Sequence[str]] = tuple

    def rows(self, limit: int | None = None) -> Iterator[InputRow]:
        """In order, numbered from 1."""
        return islice(self.open(), limit)

    def between(self, first: int, last: int) -> PredictionInput:
        """Only the rows with these numbers, which they keep."""
        return replace(self, open=lambda: islice(self.open(), first - 1, last))

    def with_suffixes(self, names: Sequence[str]) -> PredictionInput:
        """The same rows, with these chain-of-thought suffixes appended to each question.

        Raises:
            UnknownName: no such suffix.
        """
        texts = [by_name("suffix", name, PROMPT_SUFFIXES).text for name in names]
        return replace(self, open=lambda: (_with_suffixes(row, texts) for row in self.open())) if texts else self

    def with_prefill(self, text: str) -> PredictionInput:
        """The same rows, with each answer begun as this text, unless it is empty."""
        begun = Message("assistant", text.rstrip())
        return replace(self, open=lambda: (_begun(row, begun) for row in self.open())) if begun.content else self

    def summary(self, limit: int | None = None) -> InputSummary:
        """Counts, and a digest of the file, or of a dataset's rows.

        Raises:
            DataError: the input cannot be read, has no rows, or no valid one.
        """
        digest = hashlib.sha256()
        invalid = with_gold = 0
        count, first_error = 0, ""
        taken: set[str] = set()
        for row in self.rows(limit):
            count = row.number
            invalid += bool(row.error)
            with_gold += bool(row.gold)
            first_error = first_error or row.error
            taken.update(filter(may_collide, row.fields))
            if self.path is None:
                digest.update(to_json_line(row.fields))
        if not count:
            raise DataError(f"{self.name} holds no rows.", "dataset_empty")
        if invalid == count:
            raise DataError(f"{self.name}: no row can be answered. {first_error}")
        whole = sha256(self.path) if self.path else digest.hexdigest()
        use = DatasetUse(id=self.name, rows=count, sha256=whole, licence=self.licence)
        return InputSummary(use, invalid, with_gold, first_error, result_columns(taken))


def input_of(config: PredictConfig) -> PredictionInput:
    """The rows that a configuration names, with its suffixes and with the beginnings of its answers. Raises as
    `open_input` and `with_suffixes` do, and UsageError for two beginnings of one answer."""
    if config.prefill.strip() and config.continue_answers:
        raise UsageError(
            "--prefill (prefill) begins every answer, and --continue (continue_answers) takes each row's own "
            "beginning; give one of them."
        )
    found = open_input(config.input, config.columns, config.reference, config.continue_answers)
    return found.with_suffixes(config.suffixes).with_prefill(config.prefill)


def open_input(
    source: str, columns: str = "", gold_column: str = "", continue_answers: bool = False
) -> PredictionInput:
    """A data file, or a dataset by name: its held-out rows where it has some. `columns` is a file's column mapping;
    `gold_column` names the column of the gold answers, empty for the answers of the rows themselves, unless they are
    to be continued.

    Raises:
        DataError: the file cannot be read.
        UnknownName: neither a file nor a dataset.
        UsageError: no such file, a mapping that says too little, or one for a dataset.
    """
    path = validated_path(source, "input")
    mapping = Columns.parse(columns, needs_output=False) if columns.strip() else None
    newest: _Notes = []
    asked = _Asked(gold_column, continue_answers)
    if is_existing_path(source) and path.is_file():
        return PredictionInput(
            path.name,
            lambda: _read_file(path, mapping, asked, newest),
            path=path,
            notes=lambda: [sentence for notes in newest for sentence in notes()],
        )
    if has_data_suffix(path) and not source.startswith(HUB_PREFIX):
        raise UsageError(f"{source!r} is no file here; give a data file or the name of a dataset.")
    from camelid_core.plugins import load_host

    dataset = open_dataset(source, load_host().datasets)
    if mapping is not None:
        raise UsageError(f"{source!r} is a dataset, whose columns are known; a mapping is for files.")
    if missing := dataset.missing():
        raise DataError(missing)
    return PredictionInput(
        dataset.name,
        lambda: _read_dataset(dataset, asked, newest),
        dataset.licence,
        notes=lambda: [sentence for notes in newest for sentence in notes()],
    )


_Notes = list[Callable[[], Sequence[str]]]
"""Where the notes of the newest reading of an input are kept."""


def _with_suffixes(row: InputRow, suffixes: Sequence[str]) -> InputRow:
    if not row.messages:
        return row
    at = max((number for number, each in enumerate(row.messages) if each.role == "user"), default=-1)
    question = row.messages[at]
    asked = replace(question, content=reduce(with_suffix, suffixes, question.content))
    return replace(row, messages=tuple(asked if each is question else each for each in row.messages))


def _begun(row: InputRow, answer: Message) -> InputRow:
    return replace(row, messages=(*row.messages, answer)) if row.messages else row


@dataclass(frozen=True, slots=True)
class _Asked:
    """What of a record is asked, and what its answer is compared with."""

    gold_column: str
    continue_answers: bool

    def row(self, number: int, fields: Mapping[str, Any], record: Record) -> InputRow:
        begun = self.continue_answers and record.answer.strip()
        messages = (*record.prompt, replace(record.messages[-1], content=record.answer.rstrip())) if begun else None
        return InputRow(number, fields, messages or record.prompt, gold=self._gold(record, fields))

    def _gold(self, record: Record, fields: Mapping[str, Any]) -> str:
        if not self.gold_column:
            return "" if self.continue_answers else record.answer
        value = fields.get(self.gold_column)
        return str(value) if isinstance(value, str | int | float) else ""


def _read_file(path: Path, mapping: Columns | None, asked: _Asked, newest: _Notes) -> Iterator[InputRow]:
    faults = _PendingFaults()
    newest[:] = [faults.sentences]
    reader = choose_reader(path, "", mapping)
    reading = ReadContext(uncompressed_name(path).stem, mapping, faults=faults)
    source = reader.rows(path, reading)
    count = 0
    for number, fields in source:
        for error in faults.take():
            count += 1
            yield InputRow(count, {}, error=error)
        count += 1
        try:
            record = reader.read_row(
                fields if mapping else _with_empty_answer(fields), number, reading, asked.gold_column
            )
            _refuse_unasked(record)
        except RowFault as fault:
            yield InputRow(count, fields, error=str(fault.at(source.where())))
        else:
            yield asked.row(count, fields, record)
    for error in faults.take():
        count += 1
        yield InputRow(count, {}, error=error)


def _read_dataset(dataset: Dataset, asked: _Asked, newest: _Notes) -> Iterator[InputRow]:
    records = dataset.load("heldout" if dataset.heldout_rows else "train", None)
    newest[:] = [lambda: notes_of(records)]
    for number, record in enumerate(records, 1):
        fields = _dataset_fields(record)
        if record.is_text:
            yield InputRow(number, fields, error=f"{dataset.name}, row {number}: {NO_QUESTION}")
        else:
            yield asked.row(number, fields, record)


def _refuse_unasked(record: Record) -> None:
    """A model answers even an empty prompt; nobody wants to read that.

    Raises:
        RowFault: the question is empty, or there is none.
    """
    if record.is_text:
        hint = " Where the text is the question, map it: instruction=text."
        raise RowFault("no_question", NO_QUESTION + hint)
    for last in record.prompt[-1:]:
        if not (last.content.strip() or last.context.strip()):
            raise RowFault("no_text", "the question is empty.")


def _with_empty_answer(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row that lacks the answer column of its format, with an empty one: readers expect it."""
    for prompt, answers in ANSWER_COLUMNS.items():
        if prompt in fields and all(is_absent(fields.get(answer)) for answer in answers):
            return {**fields, answers[0]: ""}
    return fields


def _dataset_fields(record: Record) -> dict[str, Any]:
    if record.is_text:
        return {"id": record.id, "text": record.messages[0].content}
    try:
        fields = to_alpaca(record)
    except RowFault:
        fields = {"messages": [{"role": message.role, "content": message.text} for message in record.messages]}
    return {"id": record.id, **fields}


class _PendingFaults(Faults):
    """Faults of rows that a reader skips, collected until they are taken: each becomes a row of the result."""

    def __init__(self) -> None:
        super().__init__(strict=False)
        self._waiting: list[str] = []

    def add(self, error: DataError) -> None:
        self._waiting.append(str(error))

    def take(self) -> list[str]:
        waiting, self._waiting = self._waiting, []
        return waiting
