"""The collection as a table: what each row is, who made it, under which terms, and where its files lie.

Knows `collection.toml`. Knows nothing of disks, networks or records.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from camelid_core.licences import combined

COLLECTION = "alpaca-cot"
LATER = "alpaca-cot-later"


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class CollectionRow:
    """One set. The columns from `title` to `path` are the published table's, byte for byte; `path` "-" means none.

    `nums` 0 means that the table gives no size yet. `later` is what a later edition of the table says instead.
    """

    name: str
    title: str = ""
    nums: int = 0
    lang: str = ""
    task: str = ""
    gen: str = ""
    type: str = ""
    src: str = ""
    upstream: str = ""
    path: str = "-"
    files: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    licences: Mapping[str, str] = field(default_factory=_nothing)
    later: Mapping[str, Any] = field(default_factory=_nothing)
    note: str = ""
    cite: tuple[str, ...] = (COLLECTION,)
    repo: str = ""
    revision: str = ""
    fields: Mapping[str, list[str]] = field(default_factory=_nothing)
    keep: Mapping[str, str] = field(default_factory=_nothing)
    collection: str = field(default="", compare=False)

    @property
    def licence(self) -> str:
        """The expression for all of its parts at once."""
        return combined(self.licences.values())

    @property
    def directory(self) -> str:
        """Where its files are by now: a later edition of the table may have moved them, or have them at last."""
        return str(self.later.get("path", self.path))

    @property
    def published(self) -> bool:
        """Whether the Hub repository has files of it."""
        return self.directory != "-"

    @property
    def exact(self) -> bool:
        """Whether its files are known by name, so that nothing needs to be listed."""
        return bool(self.files) and not any(sign in name for name in self.files for sign in "*?[")


@dataclass(frozen=True, slots=True)
class MixtureEntry:
    """A name for several sets at once, and the merged files of the original that stand for them."""

    name: str
    parts: tuple[str, ...]
    files: tuple[str, ...]
    path: str
    help: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CotSet:
    """One of the nine chain-of-thought sets."""

    name: str
    nums: int
    type: str
    licence: str


@dataclass(frozen=True, slots=True)
class CollectionTable:
    """`rows` are the 31 of the published table; `additions` came later; `extras` are asked for by mixtures."""

    repo: str
    revision: str
    licence: str
    licence_note: str
    rows: tuple[CollectionRow, ...]
    additions: tuple[CollectionRow, ...]
    extras: tuple[CollectionRow, ...]
    mixes: tuple[MixtureEntry, ...]
    cot: tuple[CotSet, ...]
    citations: Mapping[str, str]

    @property
    def every(self) -> tuple[CollectionRow, ...]:
        return self.rows + self.additions + self.extras

    def citation(self, row: CollectionRow) -> str:
        return "\n\n".join(self.citations[key].strip() for key in row.cite)


@functools.cache
def load_collection() -> CollectionTable:
    """Read once, when a listing or a name first asks for it."""
    values = tomllib.loads((files(__package__) / "collection.toml").read_text(encoding="utf-8"))
    cot = tuple(CotSet(**row) for row in values["cot"])
    hub = values["hub"]
    rows = tuple(_row(row, hub, COLLECTION, cot) for row in values["row"])
    return CollectionTable(
        **hub,
        rows=rows,
        additions=tuple(_row(row, hub, LATER, cot) for row in values["addition"]),
        extras=tuple(_row(row, hub, "", cot) for row in values["extra"]),
        mixes=tuple(MixtureEntry(**_frozen(mix)) for mix in values["mix"]),
        cot=cot,
        citations=MappingProxyType(values["citations"]),
    )


def _row(values: dict[str, Any], hub: dict[str, Any], collection: str, cot: tuple[CotSet, ...]) -> CollectionRow:
    licence = values.pop("licence", "unknown")
    if values["name"] == "cot":
        licence = {f"cot-{part.name}": part.licence for part in cot}
    complete = {
        **values,
        "licences": licence if isinstance(licence, dict) else {values["name"]: licence},
        "repo": values.get("repo", hub["repo"]),
        "revision": values.get("revision", hub["revision"]),
        "collection": collection,
    }
    return CollectionRow(**_frozen(complete))


def _frozen(values: dict[str, Any]) -> dict[str, Any]:
    """Lists as tuples and tables as read-only mappings, so that a row can be shared."""
    return {key: _fixed(value) for key, value in values.items()}


def _fixed(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return MappingProxyType(value) if isinstance(value, dict) else value
