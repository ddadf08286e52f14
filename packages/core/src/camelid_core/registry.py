"""A registry: name → item, and which plugin provided it.

Knows names and which plugin claims them. Knows nothing of hooks or of what the items are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from .errors import DuplicateName, UnavailableName, UnknownName


class Named(Protocol):
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)


class Registry(Generic[T]):
    """Items of one kind by name, in the order they were added.

    `kind` is the word used in messages; `listing` the command that shows all of them; `missing` says why a name may be
    missing though it was there before, or nothing.
    """

    def __init__(self, kind: str, listing: str = "", missing: Callable[[], str] = str) -> None:
        self.kind = kind
        self.listing = listing
        self._missing = missing
        self._items: dict[str, tuple[T, str]] = {}

    def add(self, item: T, plugin: str) -> None:
        """Raises DuplicateName, naming both plugins, if the name is taken."""
        taken = self._items.get(item.name)
        if taken is not None:
            raise DuplicateName(
                f"{self.kind} {item.name!r} is given by {taken[1]} and by {plugin}; rename one. {taken[1]} keeps it."
            )
        self._items[item.name] = (item, plugin)

    def __getitem__(self, name: str) -> T:
        """Raises UnknownName, with the nearest known name; UnavailableName where a plugin that is broken or left out
        may have it."""
        try:
            return self._items[name][0]
        except KeyError:
            pass
        if reason := self.missing:
            raise UnavailableName(self.kind, name, self._items, self.listing, reason)
        raise UnknownName(self.kind, name, self._items, self.listing)

    @property
    def missing(self) -> str:
        """Why a name may be missing, as a sentence; empty where nothing is."""
        return self._missing()

    def plugin_of(self, name: str) -> str:
        self[name]
        return self._items[name][1]

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[T]:
        return (item for item, _ in self._items.values())

    def __len__(self) -> int:
        return len(self._items)

    def names(self) -> list[str]:
        return list(self._items)
