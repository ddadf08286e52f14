"""The recipe: six small sections, and what a merge needs.

Knows fields, bounds and their help. Imports no torch.
"""

from __future__ import annotations

from typing import Literal

from camelid_core.config import Config
from camelid_core.datasets import Source
from camelid_core.paths import anchor
from pydantic import Field


class ModelSection(Config):
    """Which model to start from."""

    name: str = "smollm2-135m"
    """Registered name, Hub id or directory of the base model."""
    revision: str = ""
    """Commit or tag on the Hub; empty takes what is on disk."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the base weights; auto is bfloat16 where the device multiplies it natively, else float32."""


class DataSection(Config):
    """What to learn from."""

    sources: list[str] = ["cot-arithmetic-en"]
    """Dataset names or files, each optionally with a weight: cot-arithmetic:0.5."""
    template: str = ""
    """Prompt template; empty takes the model's own."""
    cutoff: int = Field(512, ge=16, le=131072)
    """Longest example in tokens; longer ones are cut, and left out if no answer remains."""
    rows: int | None = Field(None, ge=1)
    """Take at most this many training rows in total."""
    eval_rows: int = Field(64, ge=0, le=10000)
    """Rows held out to measure the loss on; 0 measures none."""
    split_seed: int = 0
    """Decides which rows are held out where a dataset has no held-out part of its own."""


class LoraMethod(Config):
    """Low-rank adapters beside the frozen weights."""

    type: Literal["lora"] = "lora"
    r: int = Field(8, ge=1, le=1024)
    """Rank of the update matrices; more learns more and weighs more."""
    alpha: float = Field(16, gt=0)
    """Scale of the update: it is multiplied by alpha / r."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of adapter inputs dropped while training."""
    targets: list[str] = []
    """Linear layers to adapt; empty takes the model family's own, ["all-linear"] takes all."""


class TrainSection(Config):
    """How to train."""

    epochs: float = Field(1.0, gt=0, le=1000)
    """Passes over the data."""
    max_steps: int | None = Field(None, ge=1)
    """Stop after this many optimizer steps, whatever the epochs say."""
    batch_size: int = Field(4, ge=1, le=4096)
    """Rows that go through the model at once."""
    accumulation: int = Field(1, ge=1, le=4096)
    """Batches summed up before each optimizer step."""
    learning_rate: float = Field(3e-4, gt=0, lt=10)
    """Highest learning rate."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls after warm-up."""
    warmup: float = Field(0.03, ge=0, lt=1)
    """Share of the steps over which the learning rate rises from zero."""
    weight_decay: float = Field(0.0, ge=0, le=1)
    """AdamW's weight decay."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients longer than this are shortened to it."""
    seed: int = 0
    """Seed of initialisation, order and dropout."""
    save_steps: int = Field(50, ge=1)
    """Write a checkpoint every this many steps."""
    log_steps: int = Field(5, ge=1)
    """Report the loss every this many steps."""
    output: str = ""
    """Directory for the result; empty publishes under the job's name in Camelid's home."""


class EvalSection(Config):
    """How to look at the model while it learns."""

    steps: int | None = Field(None, ge=1)
    """Measure the held-out loss every this many steps; empty measures before and after only."""
    batch_size: int = Field(16, ge=1, le=4096)
    """Rows measured at once."""


class LaunchSection(Config):
    """Where to run."""

    executor: str = "local"
    """Executor that runs the job."""
    processes: Literal[1] = 1
    """Processes that share the work."""
    nodes: Literal[1] = 1
    """Machines that share the work."""


class Recipe(Config):
    """A training run, whole."""

    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    method: LoraMethod = LoraMethod()
    train: TrainSection = TrainSection()
    eval: EvalSection = EvalSection()
    launch: LaunchSection = LaunchSection()

    @property
    def publish_to(self) -> str:
        """Where the result goes."""
        return self.train.output

    def anchored(self) -> Recipe:
        """With relative paths made absolute: a job runs in another directory than the one it is typed in."""
        sources = [Source.parse(text) for text in self.data.sources]
        data = {"sources": [anchor(s.name) + (f":{s.weight!r}" if s.weight != 1 else "") for s in sources]}
        return self.model_copy(
            update={
                "model": self.model.model_copy(update={"name": anchor(self.model.name)}),
                "data": self.data.model_copy(update=data),
                "train": self.train.model_copy(update={"output": anchor(self.train.output)}),
            }
        )


class MergeConfig(Config):
    """Fold an adapter into its base model."""

    adapter: str
    """Adapter to merge: an artefact's name or a directory."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the merged weights; auto keeps that of the base."""
    output: str = ""
    """Directory for the merged model; empty publishes under the job's name in Camelid's home."""

    @property
    def publish_to(self) -> str:
        """Where the result goes."""
        return self.output

    def anchored(self) -> MergeConfig:
        """With relative paths made absolute."""
        return self.model_copy(update={"adapter": anchor(self.adapter), "output": anchor(self.output)})
