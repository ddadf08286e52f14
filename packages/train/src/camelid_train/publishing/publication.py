"""Making the plan of a publication, and carrying it out.

`plan` writes nothing: it reads artefacts and what a hub has. `publish` writes what a plan says, branch by branch, each
in one step. Knows the order. Knows no hub's protocol and no card.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from camelid_core.artefacts import MANIFEST, Manifest
from camelid_core.errors import CamelidError, JobError
from camelid_core.models.hub_names import MAIN
from camelid_core.plugins import load_host

from .card_writer import CardWriter
from .cards.proof_lines import has_failed, proof_of
from .cards.variants import gguf_names
from .file_selection import manifest_file
from .hub_target import HubTarget
from .publish_config import PublishConfig
from .publish_plan import BranchPlan, PublishPlan
from .ready_branch import with_card
from .redaction import Redactor
from .repository import Repository, family, read_repository, repository_names
from .source_branches import SourceBranch, read_sources
from .target_choice import open_target

OnProgress = Callable[[int, int, str], None]
"""Told bytes done, bytes in all, and which file of which branch."""


def plan(config: PublishConfig, target: HubTarget | None = None) -> PublishPlan:
    """What publishing would do; `target` is the hub of `config.to`, opened if it is not given.

    Raises:
        UnknownName, ArtefactError, UsageError: what was given cannot be published, and why.
        JobError: the hub cannot be asked.
    """
    target = target or open_target(config.to, config.public)
    sources = read_sources(config.artefacts, config.branch, config.override_proof)
    redactor = Redactor.of_this_machine(*_places(sources))
    stem, names = repository_names(config, sources)
    repositories = [
        read_repository(
            name, [each for each in sources if each.suffix == suffix], target, redactor, config.override_proof
        )
        for suffix, name in names.items()
    ]
    writer = CardWriter(config, target, redactor, load_host(), stem, family(stem, repositories, target))
    branches = tuple(each for repository in repositories for each in _branches(repository, writer))
    if config.override_proof and not any(has_failed(proof_of(each.artefact.manifest)) for each in sources):
        writer.warnings["no proof failed: the reason of --override-proof is recorded nowhere."] = None
    return PublishPlan(config.to, config.public, branches, tuple(writer.licence), tuple(writer.warnings))


def publish(
    planned: PublishPlan, target: HubTarget | None = None, progress: OnProgress = lambda done, total, what: None
) -> dict[str, Any]:
    """Write every branch of the plan; returns a summary. `target` is opened if it is not given.

    Raises:
        JobError: the hub refused, with how far it came; the same command goes on from there.
    """
    target = target or open_target(planned.to, planned.public)
    done = 0
    commits: dict[str, str] = {}
    for number, each in enumerate(planned.branches):
        where = f"{each.repository}:{each.branch}"

        def report(size: int, name: str, where: str = where) -> None:
            nonlocal done
            done += size
            progress(done, planned.size, f"{where} {name}")

        try:
            commits[where] = target.write(each.repository, each.branch, each.files, report, each.keep_others)
        except CamelidError as error:
            raise JobError(
                f"{where} was not published: {error} {number} of {len(planned.branches)} branches are there, whole; "
                "the same command goes on with the others."
            ) from error
    fresh = [each for each in planned.branches if each.source]
    return {
        "to": planned.to,
        "bytes": planned.size,
        "branches": commits,
        "load": [line for each in fresh for line in target.load_lines(each.repository, each.branch, _choices(each))],
    }


def _choices(each: BranchPlan) -> list[str]:
    """The GGUF files of a branch that has several."""
    manifest = next(file for file in each.files if file.name == MANIFEST)
    names = list(gguf_names(Manifest.model_validate_json(manifest.content)))
    return names if len(names) > 1 else []


def _branches(repository: Repository, writer: CardWriter) -> Iterator[BranchPlan]:
    """The branches of a repository, `main` last, for its card names the others; then those whose card alone changes."""
    card = writer.card(repository)
    for name, branch in sorted(repository.fresh.items(), key=lambda item: item[0] == MAIN):
        shared = branch.source.role == "GGUF"
        place = str(branch.source.artefact.path)
        yield BranchPlan(repository.name, name, branch.with_card(card), branch.left_out, shared, place)
    for name, published in repository.existing.items():
        if name not in repository.fresh and published.card.encode() != card.content:
            own = (manifest_file(with_card(published.manifest, card)),) if published.manifest else ()
            yield BranchPlan(repository.name, name, (card, *own), keep_others=True)


def _places(sources: Sequence[SourceBranch]) -> Iterator[Path | str]:
    """Directories whose names must not leave."""
    for each in sources:
        yield each.artefact.path
        manifest = each.artefact.manifest
        for entry in (manifest.base, *manifest.models.values()):
            if entry and entry.path:
                yield entry.path
