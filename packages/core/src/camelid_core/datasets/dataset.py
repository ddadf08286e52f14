"""`Dataset`: a named source of records, and `Source`: how a recipe names one.

Knows names, splits and files. Knows nothing of templates or tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from camelid_core.errors import DataError, UnknownName, UsageError
from camelid_core.paths import HUB, given_path, is_here
from camelid_core.records import Record
from camelid_core.registry import Registry

Split = Literal["train", "heldout"]
Load = Callable[[Split, int | None], Iterator[Record]]
Progress = Callable[[str, int, int], None]
"""Called with a file's name, the bytes that are here, and the bytes there are."""
Fetch = Callable[[str, Progress], list[Path]]


@dataclass(frozen=True, slots=True)
class Dataset:
    """`load(split, limit)` streams records; `rows` and `heldout_rows` say how many there are by default.

    `rows` is 0 where nobody has counted them, as in a file. With `heldout_rows` 0 the dataset has no held-out part
    of its own and one is cut from `train`.
    `aliases` are other names and file names it answers to. `missing()` says what to fetch and where to
    put it, and nothing when the rows are at hand. The texts from `task` on describe the set in listings:
    `title` is the name its makers write, `collection` the list it is part of, and `later_rows` a newer count
    than the one that list was published with. `fetch(revision, progress)` brings the files onto this machine
    and returns where they are; `facts()` are more things to say about the set here and now. Neither `missing`
    nor `facts` ever asks the network.
    """

    name: str
    help: str
    licence: str
    languages: tuple[str, ...]
    rows: int
    load: Load = field(repr=False)
    heldout_rows: int = 0
    tags: tuple[str, ...] = ()
    source: str = ""
    aliases: tuple[str, ...] = ()
    missing: Callable[[], str] = field(default=str, repr=False)
    task: str = ""
    generation: str = ""
    kind: str = ""
    made_by: str = ""
    url: str = ""
    citation: str = ""
    title: str = ""
    collection: str = ""
    later_rows: int = 0
    fetch: Fetch | None = field(default=None, repr=False)
    facts: Callable[[], Mapping[str, str]] = field(default=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Source:
    """`name`, `path` or either with `:weight`; a weight of 0.5 takes every second row, 2 takes all twice."""

    name: str
    weight: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Source:
        name, colon, weight = text.rpartition(":")
        if not colon:
            return cls(text)
        try:
            value = float(weight)
        except ValueError:
            return cls(text)
        if not 0 < value <= 100:
            raise UsageError(f"source {text!r}: the weight must be above 0 and at most 100.")
        return cls(name, value)


def parse_sources(texts: Iterable[str], datasets: Registry[Dataset]) -> list[Source]:
    """Every source that `texts` name. `a+b:0.5` names two, unless a dataset or a file has that very name."""
    return [source for text in texts for source in _parts(text, datasets)]


def _parts(text: str, datasets: Registry[Dataset]) -> list[Source]:
    whole = Source.parse(text)
    if "+" not in text or _is_there(whole.name, datasets):
        return [whole]
    return [Source.parse(part.strip()) for part in text.split("+")]


def _is_there(name: str, datasets: Registry[Dataset]) -> bool:
    return name in datasets or is_here(name)


def open_source(name: str, datasets: Registry[Dataset]) -> Dataset:
    """The dataset of that name, registered or added; else the file at that path; else who answers to the file name.

    `hf:ORG/NAME` is a dataset of the Hub and nothing else.

    Raises:
        UnknownName: neither a dataset nor a file, with the nearest known name.
        DataError: the path is there but no data file.
    """
    from . import library

    if name.startswith(HUB):
        from .hub import hub_dataset

        return hub_dataset(name)
    if name in datasets:
        return datasets[name]
    if library.has(name):
        return library.get(name)
    path = given_path(name, "dataset")
    if path.is_file():
        return file_dataset(path)
    if path.exists():
        raise DataError(f"{name!r} is a directory; name a data file in it.")
    for dataset in datasets:
        if path.name in dataset.aliases:
            return dataset
    raise UnknownName("dataset", name, [item.name for item in everything(datasets)], datasets.listing)


def everything(datasets: Registry[Dataset]) -> list[Dataset]:
    """What people added, the latest first, then what plugins give."""
    from . import library

    return [*(item for item in library.added() if item.name not in datasets), *datasets]


def file_dataset(path: Path, name: str = "") -> Dataset:
    """A file as a dataset, read as what its rows say they are. `rows` is 0: nobody has counted them."""
    from camelid_core.readers import read

    def load(split: Split, limit: int | None) -> Iterator[Record]:
        for count, record in enumerate(read(path)):
            if limit is not None and count >= limit:
                return
            yield record

    return Dataset(name or str(path), f"The file {path.name}.", "unknown", (), 0, load, source=str(path))
