"""What every card is made from: manifests as they leave this machine, addresses, and what a person configured.

Knows nothing of Markdown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from camelid_core.artefacts import Manifest
from camelid_core.models.hub_names import MAIN
from camelid_core.plugins import Host

from camelid_train.publishing.licence_statement import LicenceStatement
from camelid_train.saving.model_card import hub_id_of

_HUB = "https://huggingface.co"
"""Where base models are, wherever this one is published."""
ROLES = {
    "adapter": "peft",
    "merged": "merged",
    "GPTQ": "GPTQ",
    "GGUF": "GGUF",
}
"""The artefacts of one run, each in a repository of its own, and what is added to the name for it."""


@dataclass(frozen=True, slots=True)
class FamilyMember:
    """A repository of the family, and the manifests of its branches."""

    role: str
    repository: str
    branches: Mapping[str, Manifest]


@dataclass(frozen=True, slots=True)
class CardData:
    """`title` is the model's name for people; `web` gives the address of a repository's branch, or of the
    repository for an empty one; `clone_url` is what git is told; `family` are the
    repositories made of the same run, this one among them; `context_length` is what the model takes, 0 if unknown;
    `precision` is how an unquantised model is stored: fp16, bf16 or fp32. Texts are without paths and secrets."""

    repository: str
    title: str
    branches: Mapping[str, Manifest]
    web: Callable[[str, str], str]
    host: Host
    licence: LicenceStatement
    clone_url: str
    prompt: str = ""
    creator: str = ""
    quantized_by: str = ""
    family: tuple[FamilyMember, ...] = ()
    header: str = ""
    footer: str = ""
    original_card: str = ""
    context_length: int = 0
    precision: str = "fp16"

    @property
    def manifest(self) -> Manifest:
        """That of `main`, else of the first branch."""
        return self.branches.get(MAIN) or next(iter(self.branches.values()))

    @property
    def base(self) -> str:
        """The base model's name for people."""
        manifest = self.manifest
        return hub_id_of(manifest) or (manifest.base.id.rstrip("/").rpartition("/")[2] if manifest.base else "unknown")

    @property
    def original(self) -> str:
        """The repository of the model that this one was made from: the merged one if it is published, else the base."""
        merged = next((each.repository for each in self.family if each.role == "merged"), "")
        return merged if merged and merged != self.repository else hub_id_of(self.manifest)

    @property
    def original_link(self) -> str:
        """The original model as Markdown: a link where it has an address."""
        if not self.original:
            return self.base
        if self.original == hub_id_of(self.manifest):
            return f"[{self.original}]({_HUB}/{self.original})"
        return f"[{self.title}]({self.web(self.original, '')})"

    def branch_address(self, branch: str = MAIN) -> str:
        return self.web(self.repository, branch)
