"""Configuration of scoring: which models on which evaluations.

Knows fields, bounds and their help. Imports no torch.
"""

from __future__ import annotations

from typing import Self

from camelid_core.config import Config
from camelid_core.paths import absolute_if_path
from pydantic import Field, model_validator

from camelid_serve.config import Dtype, EngineConfig


class ScoreConfig(Config):
    """Scores of models on evaluations, with intervals and paired differences."""

    models: list[str] = Field(min_length=1, max_length=64)
    """Models, adapters or exports to score, by name or path; the first is the baseline where none is named."""
    tasks: list[str] = []
    """Evaluations by name; `NAME=DATA` takes its items from that dataset or file, and `SOURCE:NAME` is one of a
    plugin's, such as `lm-eval:arc_easy`. Also: `--tasks` of lm-eval."""
    suite: str = ""
    """Suite by name, or a TOML file with one: several evaluations and how they make one table."""
    files: str = ""
    """Directory with the files that the suite's evaluations read."""
    baseline: str = ""
    """The model that the others are compared with, as it is written in `models`; empty takes the first."""
    rows: int = Field(200, ge=1, le=1_000_000)
    """Most items of each evaluation, from the first. Also: `limit`, `max_samples`."""
    max_new_tokens: int | None = Field(None, ge=1, le=131072)
    """Longest answer in tokens, in place of each evaluation's own."""
    seed: int = 0
    """Random seed of evaluations that sample answers."""
    template: str = ""
    """Prompt template for all models; empty takes each model's own. Also: chat template."""
    dtype: Dtype = "auto"
    """dtype of the weights; auto is bfloat16 where the device multiplies it natively, else float32."""
    engine: str = "transformers"
    """Engine that runs the models, with its settings behind its name; GGUF files take one that runs those."""
    batch_size: int = Field(64, ge=1, le=4096)
    """Most conversations that are answered at once."""
    output: str = ""
    """Output directory of the result; empty publishes under the job's name in Camelid's home."""

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        if bool(self.tasks) == bool(self.suite):
            raise ValueError("name evaluations in tasks or one suite, and not both")
        if self.baseline and self.baseline not in self.models:
            raise ValueError(f"baseline {self.baseline!r} is none of the models: {', '.join(self.models)}")
        if len(set(self.models)) < len(self.models):
            raise ValueError("a model is named twice")
        return self

    @property
    def engine_config(self) -> EngineConfig:
        return EngineConfig(template=self.template, dtype=self.dtype, engine=self.engine, slots=self.batch_size)

    @property
    def publish_to(self) -> str:
        """Where the result goes."""
        return self.output

    def with_absolute_paths(self) -> Self:
        """With relative paths made absolute: a job runs in another directory than the one it is typed in."""
        tasks = [_with_absolute_paths(*split_task(task)) for task in self.tasks]
        values = {name: absolute_if_path(getattr(self, name)) for name in ("suite", "files", "output", "baseline")}
        return self.model_copy(
            update={**values, "models": [absolute_if_path(name) for name in self.models], "tasks": tasks}
        )


def _with_absolute_paths(name: str, data: str) -> str:
    source, colon, reference = name.partition(":")
    name = f"{source}:{absolute_if_path(reference)}" if colon else name
    return f"{name}={absolute_if_path(data)}" if data else name


def split_task(text: str) -> tuple[str, str]:
    """`NAME=DATA` → both; DATA is empty where none is given."""
    name, _, data = text.partition("=")
    return name.strip(), data.strip()
