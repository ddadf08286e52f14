"""Configuration of an export, of making a weight diff, and of recovering the model. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from camelid_core.config import Config
from camelid_core.paths import absolute_if_path
from camelid_core.plugins import load_host
from pydantic import PlainValidator, SerializeAsAny

from camelid_train.config import ShardSize, plain_name
from camelid_train.sections import ExportSection, read_export

if TYPE_CHECKING:
    AnyExport = ExportSection
else:
    AnyExport = Annotated[SerializeAsAny[ExportSection], PlainValidator(read_export)]


class ExportConfig(Config):
    """Write a model in another format."""

    source: str
    """Model or adapter to export: an artefact's name, a registered name or a directory; an adapter is merged first.
    Also: `model_name_or_path`, `export_model`."""
    to: AnyExport
    """Format: what the model is written as, with the settings of that format."""
    output: str = ""
    """Output directory of the result; empty publishes under the job's name in Camelid's home. Also: `export_dir`."""

    @property
    def publish_to(self) -> str:
        """Where the result goes."""
        return self.output

    @classmethod
    def forms(cls, field: str) -> list[type[Config]]:
        """The classes of the format's section; none for other fields."""
        return [each.config for each in load_host().registry("camelid_exporters")] if field == "to" else []

    @property
    def default_name(self) -> str:
        """The default name of its job: after the source and the format."""
        suffix = load_host().registry("camelid_exporters")[self.to.type].suffix(self.to)
        return plain_name(Path(self.source).name, "model") + f"-{suffix}"

    def with_absolute_paths(self) -> ExportConfig:
        """With relative paths made absolute."""
        update = {"source": absolute_if_path(self.source), "output": absolute_if_path(self.output)}
        return self.model_copy(update={**update, "to": self.to.with_absolute_paths()})


class DiffConfig(Config):
    """Make the diff of a fine-tuned model to its base."""

    base: str
    """Base model: a registered name, a Hub id or a directory. Also: `path_raw`."""
    tuned: str
    """Fine-tuned or merged model: an artefact's name or a directory. Also: `path_tuned`."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Dtype of the differences: float32 recovers the weights exactly; half the size is no longer exact."""
    shard: ShardSize = "4GB"
    """Maximum shard size: the largest weights file of the diff. Also: `max_shard_size`."""
    output: str = ""
    """Output directory of the diff; empty publishes under the job's name in Camelid's home. Also: `path_diff`."""

    @property
    def publish_to(self) -> str:
        """Where the result goes."""
        return self.output

    @property
    def default_name(self) -> str:
        """The default name of its job."""
        return plain_name(Path(self.tuned).name, "model") + "-diff"

    def with_absolute_paths(self) -> DiffConfig:
        """With relative paths made absolute."""
        return self.model_copy(
            update={name: absolute_if_path(getattr(self, name)) for name in ("base", "tuned", "output")}
        )


class RecoverConfig(Config):
    """Recover a fine-tuned model from its diff and its base."""

    diff: str
    """Diff: an artefact's name or a directory. Also: `path_diff`."""
    base: str
    """Base model that the diff was made with: a registered name, a Hub id or a directory. Also: `path_raw`."""
    shard: ShardSize = "4GB"
    """Maximum shard size: the largest weights file of the recovered model. Also: `max_shard_size`."""
    output: str = ""
    """Output directory of the recovered model; empty publishes under the job's name in Camelid's home.
    Also: `path_tuned`."""

    @property
    def publish_to(self) -> str:
        """Where the result goes."""
        return self.output

    @property
    def default_name(self) -> str:
        """The default name of its job."""
        return plain_name(Path(self.diff).name.removesuffix("-diff"), "model") + "-recovered"

    def with_absolute_paths(self) -> RecoverConfig:
        """With relative paths made absolute."""
        return self.model_copy(
            update={name: absolute_if_path(getattr(self, name)) for name in ("diff", "base", "output")}
        )
