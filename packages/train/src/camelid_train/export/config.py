"""Configuration of making a weight diff and of recovering the model. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from camelid_core.config import Config
from camelid_core.paths import absolute_if_path

from camelid_train.config import ShardSize, plain_name


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
