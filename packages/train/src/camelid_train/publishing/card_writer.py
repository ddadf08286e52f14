"""The card of each repository, from its manifests, what a person configured, and the card that is there already.

Knows where a card's texts come from, and that none of them holds a path or a secret of this machine. Knows no
section of a card.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from camelid_core.artefacts import Manifest
from camelid_core.errors import UsageError
from camelid_core.json_files import object_in
from camelid_core.paths import validated_path
from camelid_core.plugins import Host

from camelid_train.saving.model_card import hub_id_of

from .cards.card import card_text
from .cards.card_data import CardData, FamilyMember
from .cards.front_matter import without_head
from .cards.shared_sections import prompt_text
from .hub_target import HubTarget
from .licence_statement import licence_statement
from .outgoing_file import README, OutgoingFile
from .publish_config import PublishConfig
from .ready_branch import base_directory
from .redaction import Redactor
from .repository import Repository
from .source_branches import precision

_MAX_TEXT = 262_144


@dataclass
class CardWriter:
    """`stem` is the family's name. `licence` and `warnings` collect what must be shown before anything leaves."""

    config: PublishConfig
    target: HubTarget
    redactor: Redactor
    host: Host
    stem: str
    family: tuple[FamilyMember, ...]
    licence: dict[str, None] = field(default_factory=dict)
    warnings: dict[str, None] = field(default_factory=dict)

    def card(self, repository: Repository) -> OutgoingFile:
        """Raises UsageError: the card that is there has markers that cannot be told apart."""
        text, missing = card_text(self._data(repository), repository.card)
        if missing:
            sections = ", ".join(missing)
            self._warn(f"the card of {repository.name!r} has no markers of {sections}: these stay away.")
        return OutgoingFile.of(README, text.encode())

    def _data(self, repository: Repository) -> CardData:
        manifests, branch = repository.manifests, repository.main
        own, source = branch.manifest, branch.source.artefact
        base = base_directory(source.manifest)
        statement = licence_statement(own, base_name(own), branch.licences)
        self.licence |= dict.fromkeys(statement.lines)
        self.warnings |= dict.fromkeys(statement.warnings)
        organisation, _, name = self.stem.partition("/")
        return CardData(
            repository=repository.name,
            title=self.config.title or _title(name),
            branches=manifests,
            web=self.target.web,
            host=self.host,
            licence=statement,
            clone_url=self.target.clone_url(repository.name),
            prompt=prompt_text(own.template),
            creator=self.config.creator or organisation,
            quantized_by=self.config.quantized_by or organisation,
            family=self.family,
            header=self._own("the header", self.config.header),
            footer=self._own("the footer", self.config.footer),
            original_card=self._original(base),
            context_length=_context_length(source.path, base),
            precision=precision(source.path),
        )

    def _own(self, what: str, path: str) -> str:
        if not path:
            return ""
        try:
            return self._redacted(what, _text_in(validated_path(path, what)))
        except OSError as error:
            raise UsageError(f"{what} {path!r} cannot be read: {error.strerror}.") from None

    def _original(self, base: Path | None) -> str:
        try:
            card = _text_in(base / README) if base else ""
        except OSError:
            return ""
        return self._redacted("the original model's card", without_head(card))

    def _redacted(self, what: str, text: str) -> str:
        found: Counter[str] = Counter()
        plain = self.redactor.text(text, found)
        if found.total():
            self._warn(f"paths or secrets were taken out of {what}; read the card before it leaves.")
        return plain

    def _warn(self, text: str) -> None:
        self.warnings[text] = None


def base_name(manifest: Manifest) -> str:
    """The base model's name for people."""
    return hub_id_of(manifest) or (Path(manifest.base.id).name if manifest.base else "that is unknown")


def _title(name: str) -> str:
    """`airoboros-l2-13b-gpt4-m2.0` is Airoboros L2 13B Gpt4 M2.0."""
    words = name.replace("_", "-").split("-")
    return " ".join(word if any(map(str.isupper, word)) else word.title() for word in words if word)


def _context_length(*directories: Path | None) -> int:
    configs = (object_in(each / "config.json") for each in directories if each)
    return next((int(found) for each in configs if isinstance(found := each.get("max_position_embeddings"), int)), 0)


def _text_in(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(_MAX_TEXT)
