"""The recipe: seven small sections, and what a merge needs.

Knows fields, bounds and their help. Imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from camelid_core.config import Config, apply_overrides, validate
from camelid_core.datasets.dataset import Source
from camelid_core.errors import CamelidError
from camelid_core.mixing import Mixture
from camelid_core.models.rope import RopeScaling
from camelid_core.paths import anchor, given_path, is_here
from camelid_core.plugins import load_host
from pydantic import Field, PlainValidator, field_validator

from .methods.lora import LoraMethod
from .sections import Method, Objective, SftObjective, read_method, read_objective


class ModelSection(Config):
    """Which model to start from."""

    name: str = "smollm2-135m"
    """Registered name, Hub id or directory of the base model."""
    revision: str = ""
    """Commit on the Hub that the model on disk must be of (7 of its digits or more); empty takes what is on disk."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the base weights; auto is bfloat16 where the device multiplies it natively, else float32."""
    rope: str = ""
    """Stretch the context: linear:4 (position interpolation), dynamic:4 or yarn:4; empty leaves positions alone."""

    @field_validator("rope")
    @classmethod
    def _known(cls, value: str) -> str:
        if value:
            try:
                RopeScaling.parse(value)
            except CamelidError as error:
                raise ValueError(str(error)) from None
        return value


class DataSection(Mixture):
    """What to learn from."""

    sources: list[str] = Field(["cot-arithmetic-en"], min_length=1)
    """Dataset names or files, each optionally with a weight: cot-arithmetic:0.5."""
    template: str = ""
    """Prompt template; empty takes the model's own."""
    cutoff: int = Field(512, ge=16, le=131072)
    """Longest example in tokens; longer ones are cut, and left out if no answer remains."""
    too_long: Literal["cut", "skip"] = "cut"
    """Whether rows longer than the cut-off are cut, or skipped."""
    eval_rows: int = Field(64, ge=0, le=10000)
    """Rows held out to measure the loss on; 0 measures none."""
    split_seed: int = 0
    """Decides which rows are held out where a dataset has no held-out part of its own."""


class TrainSection(Config):
    """How to train."""

    epochs: float = Field(1.0, gt=0, le=1000)
    """Passes over the data."""
    max_steps: int | None = Field(None, ge=1)
    """Stop after this many optimizer steps, whatever the epochs say."""
    batch_size: int = Field(4, ge=1, le=4096)
    """Rows that go through the model at once, in each process: global batch = this × accumulation × processes."""
    accumulation: int = Field(1, ge=1, le=4096)
    """Batches summed up before each optimizer step."""
    learning_rate: float = Field(3e-4, gt=0, lt=10)
    """Highest learning rate."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls after warm-up."""
    warmup: float = Field(0.03, ge=0, lt=1)
    """Share of the steps over which the learning rate rises from zero; schedule="constant" has no warm-up."""
    weight_decay: float = Field(0.0, ge=0, le=1)
    """AdamW's weight decay."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients longer than this are shortened to it."""
    seed: int = 0
    """Seed of initialisation, order and dropout."""
    save_steps: int = Field(50, ge=1)
    """Write a checkpoint every this many steps."""
    keep: int = Field(2, ge=1, le=1000)
    """Checkpoints kept; should the newest be damaged, the run goes on from the one before."""
    best: bool = False
    """Publish the parameters with the lowest held-out loss, not the last ones; needs eval.steps."""
    stop_at_loss: float | None = Field(None, gt=0)
    """Stop once the smoothed training loss is this low; empty trains to the end."""
    log_steps: int = Field(5, ge=1)
    """Report the loss every this many steps."""
    packing: Literal["auto", "on", "off"] = "auto"
    """Lay a batch's rows end to end instead of padding them: auto does it on a CPU and with flash attention."""
    gradient_checkpointing: Literal["auto", "on", "off"] = "auto"
    """Make activations again instead of keeping them: less memory, a third slower; auto does it if memory runs out."""
    compile: bool = False
    """Compile the layers with torch.compile: a minute's wait for a faster step, for long runs."""
    preflight: bool = True
    """Before step 1, try two steps at the longest rows: say what they take, and whether memory and disk are enough."""
    output: str = ""
    """Directory for the result; empty publishes under the job's name in Camelid's home."""
    report_to: list[Literal["tensorboard", "trackio", "wandb", "mlflow"]] = []
    """Trackers that get the curves too: tensorboard, trackio, wandb or mlflow; only wandb sends them to the net."""


class EvalSection(Config):
    """How to look at the model while it learns."""

    steps: int | None = Field(None, ge=1)
    """Measure the held-out loss every this many steps; empty measures before and after only."""
    patience: int | None = Field(None, ge=1)
    """Stop after this many measurements in a row without a new lowest loss; empty never does, else needs eval.steps."""
    batch_size: int = Field(16, ge=1, le=4096)
    """Rows measured at once."""
    samples: int = Field(2, ge=0, le=32)
    """Held-out prompts that the model answers at each measurement, before the first step and after the last."""
    sample_tokens: int = Field(64, ge=1, le=4096)
    """Longest of these answers, in tokens."""


class LaunchSection(Config):
    """Where to run."""

    executor: str = "local"
    """Executor that runs the job."""
    processes: int = Field(1, ge=1, le=1024)
    """Processes per machine that share the work, each with its own graphics card and its own rows of every step."""
    nodes: int = Field(1, ge=1, le=1024)
    """Machines that share the work: run the same command on each, with MASTER_ADDR and NODE_RANK set."""
    strategy: Literal["ddp", "fsdp", "deepspeed"] = "ddp"
    """How processes share the model: ddp gives each a whole one, fsdp and deepspeed cut it in shards."""
    zero: Literal[2, 3] = 2
    """What deepspeed cuts in shards: 2 is gradients and optimizer, 3 is the weights as well."""


if TYPE_CHECKING:
    AnyMethod = Method
    AnyObjective = Objective
else:  # the section's `type` says which class reads it; forms show the default's knobs
    AnyMethod = Annotated[LoraMethod | Any, PlainValidator(read_method)]
    AnyObjective = Annotated[SftObjective | Any, PlainValidator(read_objective)]


class Recipe(Config):
    """A training run, whole."""

    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    method: AnyMethod = LoraMethod()
    """How to tune: which weights learn, and in what form the result is kept."""
    objective: AnyObjective = SftObjective()
    """What to learn: whole answers, better ones against worse ones, or what earns a reward."""
    train: TrainSection = TrainSection()
    eval: EvalSection = EvalSection()
    launch: LaunchSection = LaunchSection()

    @property
    def publish_to(self) -> str:
        """Where the result goes."""
        return self.train.output

    @classmethod
    def forms(cls, field: str) -> list[type[Config]]:
        """The classes that a section may be of, told apart by its `type`, the default's first; none for the others."""
        hooks = {"method": "camelid_tuning_methods", "objective": "camelid_objectives"}
        return [choice.config for choice in load_host().registry(hooks[field])] if field in hooks else []

    def with_overrides(self, overrides: Sequence[str]) -> Recipe:
        """A copy with overrides; another `type` of method or objective starts from its own defaults."""
        keys = {override.partition("=")[0].strip() for override in overrides}
        fresh: dict[str, Any] = {name: {} for name in ("method", "objective") if f"{name}.type" in keys}
        if fresh:
            values = self.model_dump(mode="json") | fresh
            apply_overrides(values, overrides)
            return validate(Recipe, values, "the overrides")
        return super().with_overrides(overrides)

    def anchored(self) -> Recipe:
        """With relative paths made absolute: a job runs in another directory than the one it is typed in."""
        data = {"sources": [_anchored(text) for text in self.data.sources]}
        return self.model_copy(
            update={
                "model": self.model.model_copy(update={"name": anchor(self.model.name)}),
                "data": self.data.model_copy(update=data),
                "train": self.train.model_copy(update={"output": anchor(self.train.output)}),
            }
        )


def _anchored(source: str) -> str:
    """One source or several joined with a plus, each with its weight."""
    whole = Source.parse(source)
    texts = source.split("+") if "+" in source and not is_here(whole.name) else [source]
    parts = [Source.parse(text.strip()) for text in texts]
    return "+".join(_place(part.name) + (f":{part.weight!r}" if part.weight != 1 else "") for part in parts)


def _place(name: str) -> str:
    """A directory is no source: one that happens to be called like a dataset leaves the name alone."""
    return name if given_path(name, "source").is_dir() else anchor(name)


class MergeConfig(Config):
    """Fold an adapter into its base model."""

    adapter: str
    """Adapter to merge: an artefact's name or a directory."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the merged weights; auto keeps that of the base."""
    weights: Literal["plain", "as-trained"] = "plain"
    """Fold into the base as it is stored, or as training saw it: quantised by qlora and made plain again."""
    shard: str = "4GB"
    """Largest file of the merged model."""
    output: str = ""
    """Directory for the merged model; empty publishes under the job's name in Camelid's home."""

    @field_validator("shard")
    @classmethod
    def _size(cls, value: str) -> str:
        if not re.fullmatch(r"\d+(\.\d+)? ?[KMGT]B", value, re.ASCII | re.IGNORECASE):
            raise ValueError(f"{value!r} is no size; write it like 500MB or 4GB")
        return value

    @property
    def publish_to(self) -> str:
        """Where the result goes."""
        return self.output

    @property
    def default_name(self) -> str:
        """What its job is called unless somebody says: after the adapter, in characters that a name may have."""
        plain = re.sub(r"[^A-Za-z0-9._-]+|\.{2,}", "-", Path(self.adapter).name).strip("._-")
        return f"{plain[:56] or 'adapter'}-merged"

    def anchored(self) -> MergeConfig:
        """With relative paths made absolute."""
        return self.model_copy(update={"adapter": anchor(self.adapter), "output": anchor(self.output)})
