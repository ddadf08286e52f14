"""The nine chain-of-thought sets as datasets: phrased from FLAN's files, or as the original collection phrased them.

Knows which of a set's files to prefer. Knows nothing of the phrasings themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from camelid_core.datasets.dataset import Dataset
from camelid_core.datasets.noted_records import NotedRecords, noted, notes_by_name
from camelid_core.errors import DataError
from camelid_core.records import Record

from . import hub, local_files
from .collection_table import CollectionRow, CollectionTable, CotSet
from .hub import fetcher
from .local_files import instructions
from .rows import records

if TYPE_CHECKING:
    from camelid_core.readers import Faults

FLAN_READER = "flan-tsv"
_ORIGIN = "Chain-of-Thought/origin_cot_data"
_FORMATTED = ("Chain-of-Thought/formatted_cot_data", "formatted_cot_data", "formated_cot_data")


def cot_datasets(table: CollectionTable) -> list[Dataset]:
    return [_dataset(part, table) for part in table.cot]


def origin(part: CotSet, table: CollectionTable) -> CollectionRow:
    """The set's own file in the repository, as a row of the table."""
    return CollectionRow(
        name=f"cot-{part.name}",
        path=_ORIGIN,
        files=(f"{part.name}_train.tsv",),
        repo=table.repo,
        revision=table.revision,
    )


def unphrased(part: CotSet, table: CollectionTable) -> Path | None:
    """FLAN's file of the set, if it is on this machine."""
    found = local_files.find(origin(part, table), table.repo)
    return found[0] if found else local_files.first_existing([f"origin_cot_data/{part.name}_train.tsv"])


def phrased(part: CotSet) -> Path | None:
    """The file the original made of it, under either spelling of its directory."""
    return local_files.first_existing(f"{directory}/{part.name}_train.json" for directory in _FORMATTED)


def read_set(path: Path, seed: int = 0, keep_escapes: bool = False, faults: Faults | None = None) -> Iterator[Record]:
    """The set's records from FLAN's file. With `keep_escapes` they are as the original has them (parity)."""
    from camelid_core.readers import read

    return read(path, FLAN_READER, faults=faults, seed=seed, keep_escapes=keep_escapes)


def merged(nine: list[Dataset]) -> NotedRecords:
    """All nine, one after the other.

    Raises:
        DataError: at the end, if there were more or fewer rows than the sets are known to have.
    """
    begun: list[tuple[str, Iterator[Record]]] = []
    return NotedRecords(_merged(nine, begun), lambda: notes_by_name(begun))


def _merged(nine: list[Dataset], begun: list[tuple[str, Iterator[Record]]]) -> Iterator[Record]:
    counts: dict[str, int] = {}
    for dataset in nine:
        begun.append((dataset.name, dataset.load("train", None)))
        for record in begun[-1][1]:
            counts[dataset.name] = counts.get(dataset.name, 0) + 1
            yield record
    wrong = [
        f"{dataset.name} {counts.get(dataset.name, 0):,} instead of {dataset.rows:,}"
        for dataset in nine
        if counts.get(dataset.name, 0) != dataset.rows
    ]
    if wrong:
        total = sum(dataset.rows for dataset in nine)
        raise DataError(f"the nine sets should have {total:,} rows: {'; '.join(wrong)}. A file is not as published.")


def _dataset(part: CotSet, table: CollectionTable) -> Dataset:
    row = origin(part, table)

    return Dataset(
        name=row.name,
        title=part.name,
        help=f"Chain of thought: {part.type}.",
        licence=part.licence,
        languages=("en",),
        rows=part.nums,
        load=noted(lambda faults, _: _records(part, table, faults)),
        missing=partial(_missing, part, table),
        tags=("cot",),
        source="https://github.com/google-research/FLAN",
        aliases=(f"{part.name}_train.tsv", f"{part.name}_train.json", part.name),
        task="TS",
        generation="HG",
        kind=part.type,
        made_by="annotating CoT on existing data",
        url=f"https://huggingface.co/datasets/{table.repo}/blob/{table.revision}/{_ORIGIN}/{row.files[0]}",
        citation="\n\n".join(table.citations[key].strip() for key in ("alpaca-cot", "flan")),
        fetch=fetcher(row),
        facts=partial(_facts, part, table),
    )


def _facts(part: CotSet, table: CollectionTable) -> dict[str, str]:
    own = unphrased(part, table)
    here = own or phrased(part)
    phrasing = "one of several, by seed and row" if own else "the original's" if here else ""
    return {"files": str(here or ""), "phrasing": phrasing, "terms": table.licence_note}


def _missing(part: CotSet, table: CollectionTable) -> str:
    return "" if unphrased(part, table) or phrased(part) else instructions(origin(part, table))


def _records(part: CotSet, table: CollectionTable, faults: Faults) -> Iterator[Record]:
    path = unphrased(part, table)
    if path is not None:
        yield from read_set(path, faults=faults)
        return
    original = phrased(part)
    if original is not None:
        yield from records(origin(part, table), [original], faults)
        return
    yield from read_set(hub.fetch(origin(part, table))[0], faults=faults)
