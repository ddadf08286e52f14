"""The table's rows as datasets: their names, what is missing, and their records from wherever the files are.

Knows the fields of `Dataset`. Leaves directories to `local_files`, the network to `hub`, and the nine sets to `cot`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from camelid_core.datasets.dataset import Dataset, DownloadProgress, Split
from camelid_core.datasets.files import file_dataset
from camelid_core.datasets.library import inherited
from camelid_core.datasets.noted_records import first_of, joined, noted
from camelid_core.licences import generator_terms, non_commercial
from camelid_core.records import Record

if TYPE_CHECKING:
    from camelid_core.readers import Faults

from . import local_files
from .collection_table import CollectionRow, CollectionTable, MixtureEntry, load_collection
from .hub import fetcher
from .local_files import instructions, web_address

PREVIEW_ROWS = 1000
"""So many rows or fewer are read from the Hub without fetching whole files."""

_LANGUAGES = {"EN": "en", "CN": "zh", "ML": "mul"}
"""`ML` is multi-lingual, which ISO 639 calls `mul`; its own `ml` is Malayalam."""
_MACHINES = ("gpt", "davinci")


def datasets() -> list[Dataset]:
    """All datasets of this plugin. Pure and quick: only the table's own file is opened."""
    from .cot import cot_datasets

    entries = {row.name: row for row in load_collection().every}
    rows = {name: _dataset(row, load_collection()) for name, row in entries.items()}
    nine = cot_datasets(load_collection())
    rows["cot"] = _whole_cot(rows["cot"], nine)
    mixes = [_mixed(mix, rows) for mix in load_collection().mixes]
    return [*rows.values(), *nine, *mixes]


def local_paths(row: CollectionRow) -> list[Path]:
    return local_files.find(row, load_collection().repo)


def missing_files(row: CollectionRow) -> str:
    """What to fetch and where to put it; nothing if the row's files are here."""
    return "" if local_paths(row) else instructions(row)


def facts(row: CollectionRow) -> dict[str, str]:
    """Where its files are, the commit they are of, and what else is to be known."""
    found = local_paths(row)
    commit = (
        local_files.fetch_log(row).get("commit", "")
        if any(local_files.downloads() in path.parents for path in found)
        else ""
    )
    return {
        "files": ", ".join(map(str, found[:5])) + (f" and {len(found) - 5} more" if len(found) > 5 else ""),
        "commit": str(commit),
        "note": row.note,
        "terms": load_collection().licence_note if row.repo == load_collection().repo else "",
    }


def _records(row: CollectionRow, faults: Faults, limit: int | None) -> Iterator[Record]:
    """Mirror and fetched files first, then the Hub: a few rows are streamed, more are fetched and kept."""
    from .rows import records

    found = local_paths(row)
    if found:
        return records(row, found, faults)
    from . import hub, previews

    if limit is not None and limit <= PREVIEW_ROWS:
        return previews.preview(row, limit)
    return records(row, hub.fetch(row), faults)


def _dataset(row: CollectionRow, all_rows: CollectionTable) -> Dataset:
    later = row.later
    lang = row.lang or str(later.get("lang", ""))
    kind, made_by = (getattr(row, key) or str(later.get(key, "")) for key in ("type", "src"))
    return Dataset(
        name=row.name,
        title=row.title,
        help=f"{row.title}: {kind}." if kind else f"{row.title}.",
        licence=row.licence,
        languages=tuple(_LANGUAGES[tag] for tag in lang.split("/") if tag),
        rows=row.nums,
        later_rows=int(later.get("nums", 0)),
        load=noted(partial(_records, row)),
        missing=partial(missing_files, row),
        tags=tuple(tag for tag, holds in _tags(row, made_by) if holds),
        source=row.upstream,
        aliases=_aliases(row),
        task=row.task or str(later.get("task", "")),
        generation=row.gen or str(later.get("gen", "")),
        kind=kind,
        made_by=made_by,
        generator=tuple(generator_terms(" ".join([made_by, *_parts_made_by(row, all_rows)]))),
        url=web_address(row),
        citation=all_rows.citation(row),
        collection=row.collection,
        fetch=fetcher(row),
        facts=partial(facts, row),
    )


def _parts_made_by(row: CollectionRow, all_rows: CollectionTable) -> Iterator[str]:
    """Who made the other sets that are part of this one; their licences stand beside its own."""
    return (other.src for other in all_rows.every if other.name in row.licences)


def _tags(row: CollectionRow, made_by: str) -> Iterator[tuple[str, bool]]:
    yield "cot", "cot" in row.name.split("-")
    yield "machine-output", any(name in made_by.lower() for name in _MACHINES)
    yield "non-commercial", non_commercial(row.licence) is True


def _aliases(row: CollectionRow) -> tuple[str, ...]:
    """Every other name, and the name of its file if it has but one."""
    files = row.files if len(row.files) == 1 else ()
    titles = (row.title, str(row.later.get("title", "")), row.title.lower(), row.title.replace(" ", "_"))
    return tuple(dict.fromkeys(name for name in (*titles, *row.aliases, *files) if name and name != row.name))


def _whole_cot(dataset: Dataset, nine: list[Dataset]) -> Dataset:
    from dataclasses import replace

    from .cot import merged

    def missing() -> str:
        text = dataset.missing()
        return text if text and any(part.missing() for part in nine) else ""

    def load(split: Split, limit: int | None) -> Iterator[Record]:
        here = dataset.missing() == "" or any(part.missing() for part in nine)
        return dataset.load(split, limit) if here or split == "heldout" else first_of(merged(nine), limit)

    return replace(dataset, missing=missing, load=load)


def _mixed(mix: MixtureEntry, rows: Mapping[str, Dataset]) -> Dataset:
    """Composed as it is read. The original's merged file is used instead if it is on this machine."""
    parts = [rows[name] for name in mix.parts]
    merged: Callable[[], Path | None] = partial(
        local_files.first_existing, [f"{mix.path}/{name}" for name in mix.files] + [*mix.files, *mix.aliases]
    )

    def missing() -> str:
        return "" if merged() else "\n".join(text for part in parts if (text := part.missing()))

    def load(split: Split, limit: int | None) -> Iterator[Record]:
        if split == "heldout":
            return iter(())
        path = merged()
        if path:
            return file_dataset(path).load("train", limit)
        return first_of(joined((part.name, part.load("train", limit)) for part in parts), limit)

    return Dataset(
        name=mix.name,
        help=mix.help,
        **inherited(parts),
        rows=sum(part.rows for part in parts) if all(part.rows for part in parts) else 0,
        load=load,
        missing=missing,
        tags=tuple(sorted({"mixture", *(tag for part in parts for tag in part.tags)})),
        source=" + ".join(mix.parts),
        aliases=(*mix.files, *mix.aliases),
        task="MT",
        generation="COL",
        fetch=partial(_fetch_all, parts),
    )


def _fetch_all(parts: list[Dataset], revision: str, progress: DownloadProgress) -> list[Path]:
    return [path for part in parts if part.fetch for path in part.fetch(revision, progress)]
