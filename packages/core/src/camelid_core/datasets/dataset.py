"""`Dataset`: a named source of records, and `Source`: how a recipe names one.

Knows names, splits and files. Knows nothing of templates or tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from camelid_core.errors import UsageError
from camelid_core.records import Record

Split = Literal["train", "heldout"]
LoadRecords = Callable[[Split, int | None], Iterator[Record]]
DownloadProgress = Callable[[str, int, int], None]
"""Called with a file's name, the bytes that are here, and the bytes there are."""
FetchFiles = Callable[[str, DownloadProgress], list[Path]]


@dataclass(frozen=True, slots=True)
class Dataset:
    """`load(split, limit)` streams records; `rows` and `heldout_rows` say how many there are by default.

    `rows` is 0 where nobody has counted them, as in a file. With `heldout_rows` 0 the dataset has no held-out part
    of its own and one is cut from `train`.
    `aliases` are other names and file names that mean it. `missing()` says what to fetch and where to
    put it, and is empty when the rows are on this machine. The texts from `task` on describe the set in listings:
    `title` is the name its makers write, `collection` the list it is part of, and `later_rows` a newer count
    than the one that list was published with. `made_by` says who or what wrote the answers, and `generator` the
    terms of the services that did (`camelid_core.licences`). `fetch(revision, progress)` brings the files onto this
    machine and returns where they are; `facts()` are more details of the set, by name. Neither `missing` nor `facts`
    ever uses the network.
    """

    name: str
    help: str
    licence: str
    languages: tuple[str, ...]
    rows: int
    load: LoadRecords = field(repr=False)
    heldout_rows: int = 0
    tags: tuple[str, ...] = ()
    source: str = ""
    aliases: tuple[str, ...] = ()
    missing: Callable[[], str] = field(default=str, repr=False)
    task: str = ""
    generation: str = ""
    kind: str = ""
    made_by: str = ""
    generator: tuple[str, ...] = ()
    url: str = ""
    citation: str = ""
    title: str = ""
    collection: str = ""
    later_rows: int = 0
    fetch: FetchFiles | None = field(default=None, repr=False)
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
