"""The repositories of a family: their names, the branches that are published now, and what the hub has already.

Knows names and branches. Knows no card.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from camelid_core.artefacts import Manifest
from camelid_core.errors import UsageError
from camelid_core.models.hub_names import MAIN, valid_repository

from .cards.card_data import FamilyMember
from .hub_target import HubTarget, PublishedBranch
from .publish_config import THE_HUB, PublishConfig
from .ready_branch import ReadyBranch, ready_branch, with_earlier_files
from .redaction import Redactor
from .source_branches import SUFFIXES, SourceBranch, with_branches


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of the family: what is to be published, and what the hub has."""

    name: str
    role: str
    fresh: Mapping[str, ReadyBranch]
    existing: Mapping[str, PublishedBranch]

    @property
    def manifests(self) -> dict[str, Manifest]:
        """Of all branches, `main` first, the others in the order in which they were made."""
        found = {name: each.manifest for name, each in self.existing.items() if each.manifest}
        found |= {name: each.manifest for name, each in self.fresh.items()}
        return dict(sorted(found.items(), key=lambda item: (item[0] != MAIN, item[1].created, item[0])))

    @property
    def main(self) -> ReadyBranch:
        """What is published as `main`, else the first branch."""
        return self.fresh.get(MAIN) or next(iter(self.fresh.values()))

    @property
    def card(self) -> str:
        """The card that is there already; empty for none."""
        branches = sorted(self.existing, key=lambda name: name != MAIN)
        return next((self.existing[name].card for name in branches if self.existing[name].card), "")


def repository_names(config: PublishConfig, sources: Sequence[SourceBranch]) -> tuple[str, dict[str, str]]:
    """The name without any kind, and the repository of each suffix.

    Raises:
        UsageError: no name for the Hub, or one that cannot be.
    """
    if not config.name and config.to == THE_HUB:
        raise UsageError("say which repository on the Hub: --name ORG/NAME.")
    name = config.name or valid_repository(f"local/{sources[0].artefact.path.name}")
    suffixes = list(dict.fromkeys(each.suffix for each in sources))
    stem, _, last = name.rpartition("-")
    stem = stem if last in SUFFIXES and stem else name
    if len(suffixes) == 1 and config.name:
        return stem, {suffixes[0]: name}
    return stem, {suffix: f"{stem}-{suffix}" for suffix in suffixes}


def read_repository(
    name: str, sources: Sequence[SourceBranch], target: HubTarget, redactor: Redactor, override_proof: str
) -> Repository:
    """Raises JobError: the hub cannot be asked. UsageError, ArtefactError: as for branches."""
    existing = target.branches(name)
    fresh: dict[str, ReadyBranch] = {}
    for source in with_branches(sources, list(existing)):
        branch = ready_branch(source, redactor, override_proof)
        if source.role == "GGUF":
            branch = with_earlier_files(branch, fresh.get(source.branch), _manifest(existing, source.branch))
        fresh[source.branch] = branch
    return Repository(name, sources[0].role, fresh, existing)


def family(stem: str, repositories: Sequence[Repository], target: HubTarget) -> tuple[FamilyMember, ...]:
    """What is published together, and what of the same family is on the hub already."""
    found = [FamilyMember(each.role, each.name, each.manifests) for each in repositories]
    for suffix, role in SUFFIXES.items():
        if role not in {each.role for each in found}:
            there = target.branches(f"{stem}-{suffix}")
            if manifests := {branch: each.manifest for branch, each in there.items() if each.manifest}:
                found.append(FamilyMember(role, f"{stem}-{suffix}", manifests))
    return tuple(found)


def _manifest(existing: Mapping[str, PublishedBranch], branch: str) -> Manifest | None:
    return existing[branch].manifest if branch in existing else None
