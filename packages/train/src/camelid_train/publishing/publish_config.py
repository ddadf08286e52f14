"""Configuration of publishing. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from camelid_core.config import Config
from camelid_core.models.hub_names import valid_branch, valid_repository
from camelid_core.paths import LOCAL_HUB_PREFIX, absolute_if_path, validated_path
from pydantic import Field, field_validator

from camelid_train.config import plain_name

THE_HUB = "hf"


class PublishConfig(Config):
    """Publish artefacts to a hub."""

    artefacts: list[str] = Field(min_length=1)
    """Artefacts: names or directories; those of one run become repositories that link to each other."""
    to: str
    """Target: `hf` is the Hugging Face Hub; a directory, or `hub:DIR`, is a local hub."""
    name: str = ""
    """Repository: ORG/NAME; of several, the kind is added to each: -peft, -fp16, -GPTQ, -GGUF. Empty: local/ and the
    first artefact's name, on a local hub. Also: `export_hub_model_id`, `hub_model_id`."""
    branch: str = ""
    """Branch: of a single artefact; empty is `main`, or what its GPTQ parameters say."""
    public: bool = False
    """Public: everybody sees a new repository on the Hub; else you alone. An existing one stays as it is."""
    override_proof: str = ""
    """Override proof: the reason for publishing an artefact whose proof failed; its manifest and its
    card show it."""
    title: str = ""
    """Title: the name of the model for people; empty makes it from the repository's."""
    creator: str = ""
    """Creator: who made the model; empty is the repository's ORG."""
    quantized_by: str = ""
    """Quantised by: who quantised it; empty is the repository's ORG."""
    header: str = ""
    """Header file: Markdown for the top of a card."""
    footer: str = ""
    """Footer file: Markdown for the bottom of a card."""

    @field_validator("to")
    @classmethod
    def _target(cls, value: str) -> str:
        if not value.removeprefix(LOCAL_HUB_PREFIX).strip():
            raise ValueError("say where to publish: --to hf (the Hugging Face Hub), or --to DIR (a local hub)")
        return value

    @field_validator("name")
    @classmethod
    def _repository(cls, value: str) -> str:
        return valid_repository(value) if value else value

    @field_validator("branch")
    @classmethod
    def _branch(cls, value: str) -> str:
        return valid_branch(value) if value else value

    @property
    def default_name(self) -> str:
        """The default name of its job."""
        return plain_name(self.name.rpartition("/")[2] or Path(self.artefacts[0]).name, "model") + "-publish"

    def with_absolute_paths(self) -> PublishConfig:
        """With relative paths made absolute."""
        directory = self.to.removeprefix(LOCAL_HUB_PREFIX)
        to = self.to if self.to == THE_HUB else f"{LOCAL_HUB_PREFIX}{validated_path(directory, 'hub').absolute()}"
        update = {
            "to": to,
            "artefacts": [absolute_if_path(each) for each in self.artefacts],
            **{name: absolute_if_path(getattr(self, name)) for name in ("header", "footer")},
        }
        return self.model_copy(update=update)
