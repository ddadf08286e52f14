"""What a publication will do, before anything leaves: files with bytes and hashes, cards, licences, warnings.

Knows how it is shown. Knows nothing of how it is made or carried out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .file_selection import LeftOut
from .outgoing_file import README, OutgoingFile


@dataclass(frozen=True, slots=True)
class BranchPlan:
    """One branch: all of its files, or with `keep_others` those that change. `left_out` stays on this machine."""

    repository: str
    branch: str
    files: tuple[OutgoingFile, ...]
    left_out: tuple[LeftOut, ...] = ()
    keep_others: bool = False
    source: str = ""

    @property
    def size(self) -> int:
        return sum(each.size for each in self.files)

    @property
    def card(self) -> str:
        return next((each.content.decode() for each in self.files if each.name == README), "")

    def as_values(self) -> dict[str, Any]:
        return {
            "repository": self.repository,
            "branch": self.branch,
            "source": self.source,
            "bytes": self.size,
            "keeps_other_files": self.keep_others,
            "files": [
                {"name": each.name, "bytes": each.size, "sha256": each.sha256, "changed": each.changed}
                for each in self.files
            ],
            "left_out": [{"name": each.name, "why": each.why} for each in self.left_out],
        }


@dataclass(frozen=True, slots=True)
class PublishPlan:
    """All branches in the order in which they are written. `licence` is the statement that must be shown before
    anything leaves; `warnings` are sentences for whoever publishes."""

    to: str
    public: bool
    branches: tuple[BranchPlan, ...]
    licence: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def size(self) -> int:
        return sum(each.size for each in self.branches)

    @property
    def repositories(self) -> list[str]:
        return list(dict.fromkeys(each.repository for each in self.branches))

    def as_values(self) -> dict[str, Any]:
        return {
            "to": self.to,
            "public": self.public,
            "bytes": self.size,
            "licence": list(self.licence),
            "warnings": list(self.warnings),
            "branches": [each.as_values() for each in self.branches],
        }
