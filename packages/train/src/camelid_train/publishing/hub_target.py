"""`HubTarget`: the interface of a place that models are published to.

Knows what publishing asks of a hub. Knows no hub.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from camelid_core.artefacts import Manifest

from .outgoing_file import OutgoingFile

MAX_TEXT_BYTES = 16_000_000
"""Of a card or a manifest that is read back from a hub."""
Report = Callable[[int, str], None]
"""Told after each file: its bytes, and its name."""


@dataclass(frozen=True, slots=True)
class PublishedBranch:
    """What a hub has of a branch: its card, and its manifest, None where Camelid did not write it."""

    manifest: Manifest | None
    card: str


class HubTarget(ABC):
    """A place that holds repositories (`ORG/NAME`) of branches. `name` is how it was typed."""

    name: str

    @abstractmethod
    def branches(self, repository: str) -> dict[str, PublishedBranch]:
        """What is published there; empty where there is no such repository.

        Raises:
            JobError: the hub cannot be asked.
        """

    @abstractmethod
    def write(
        self, repository: str, branch: str, files: Sequence[OutgoingFile], report: Report, keep_others: bool = False
    ) -> str:
        """Let the branch hold these files, in one step, and return its commit. The same files give no new one.

        `keep_others`: files of other names stay; else they are removed.

        Raises:
            JobError: the hub refused, with what to do then; the branch is as it was.
            DiskFull: before anything is written.
        """

    @abstractmethod
    def web(self, repository: str, branch: str = "") -> str:
        """How a card links to a branch, or to the repository."""

    @abstractmethod
    def clone_url(self, repository: str) -> str:
        """What `git clone` takes, as it is written on a card: without any directory of this machine."""

    @abstractmethod
    def load_lines(self, repository: str, branch: str, files: Sequence[str] = ()) -> list[str]:
        """What to type to get or to load the branch, for whoever has just published it; `files` are those of several
        GGUF files that one must choose from."""
