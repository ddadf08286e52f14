"""The recipe: the configuration of a training run in seven sections.

Knows fields, bounds and their help, which ends with the names of other tools: `Also: …`. Imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from camelid_core.config import Config, apply_overrides, validate
from camelid_core.datasets.dataset import Source
from camelid_core.errors import CamelidError
from camelid_core.mixing import Mixture
from camelid_core.models.rope import RopeScaling
from camelid_core.paths import absolute_if_path, is_existing_path, validated_path
from camelid_core.plugins import load_host
from camelid_core.references import DataNames, ModelName, OfThisMachine
from pydantic import AfterValidator, Field, PlainValidator, field_validator

from .methods.lora import LoraMethod
from .sections import Method, Objective, SftObjective, read_method, read_objective


class ModelSection(Config):
    """The base model."""

    name: ModelName = "smollm2-135m"
    """Base model: a registered name, a Hub id or a directory. Also: `model_name_or_path`, `base_model`."""
    revision: str = ""
    """Commit on the Hub, by 7 of its digits or more, that the model on disk must be of; empty accepts any.
    Also: `model_revision`."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Dtype (precision) of the base weights: auto is bfloat16 where the device computes in it natively, else float32.
    Also: `torch_dtype`, `bf16`, `fp16`."""
    rope: str = ""
    """RoPE scaling for a longer context, as type:factor: linear:4 (position interpolation), dynamic:4 (NTK) or yarn:4;
    empty leaves positions unscaled. Also: `rope_scaling`."""

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
    """The training data: datasets, how they are mixed, the cut-off, and the held-out rows."""

    sources: DataNames = Field(["cot-arithmetic-en"], min_length=1)
    """Datasets: names or files, each optionally with a weight, as in cot-arithmetic:0.5. The default is built in,
    without a download. Also: `dataset`, `datasets`."""
    template: str = ""
    """Prompt template by name; empty takes the base model's own. Rows of text alone take none. Also: `chat_template`,
    `prompt_template_name`."""
    cutoff: int = Field(512, ge=16, le=131072)
    """Cut-off: maximum sequence length of an example in tokens, prompt included; longer rows are cut, and left out if
    no answer remains; rows of text alone are divided. Also: `cutoff_len`, `max_seq_length`, `sequence_len`."""
    too_long: Literal["cut", "skip"] = "cut"
    """Rows longer than the cut-off: cut truncates them, skip leaves them out. Also: `excess_length_strategy`."""
    eval_rows: int = Field(64, ge=0, le=10000)
    """Held-out rows (validation set): never trained on, the held-out loss is measured on them; 0 holds out none.
    Also: `val_size`, `val_set_size`."""
    split_seed: int = 0
    """Split seed: decides which rows are held out where a dataset has no validation split of its own."""


class TrainSection(Config):
    """Hyperparameters of the training loop. The optimizer is AdamW."""

    epochs: float = Field(1.0, gt=0, le=1000)
    """Epochs: passes over the training rows; fractions are allowed. Also: `num_train_epochs`, `num_epochs`."""
    max_steps: int | None = Field(None, ge=1)
    """Maximum optimizer steps, which overrides epochs; empty trains all epochs. Also: global steps."""
    batch_size: int = Field(4, ge=1, le=4096)
    """Batch size per device: rows in one forward pass of each process. Global batch = batch_size × accumulation ×
    processes. Also: `per_device_train_batch_size`, `micro_batch_size`."""
    accumulation: int = Field(1, ge=1, le=4096)
    """Gradient accumulation steps: micro-batches whose gradients are summed before one optimizer step.
    Also: `gradient_accumulation_steps`."""
    learning_rate: float = Field(3e-4, gt=0, lt=10)
    """Peak learning rate, reached at the end of warm-up; the default suits LoRA, full fine-tuning takes about a tenth.
    Also: `lr`."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Learning-rate schedule after warm-up: linear or cosine decay to zero, or constant.
    Also: `lr_scheduler_type`, `lr_scheduler`."""
    warmup: float = Field(0.03, ge=0, lt=1)
    """Warm-up ratio: share of the steps over which the learning rate rises; the first step learns, and at most all
    steps but the last warm up. schedule="constant" has no warm-up. Also: `warmup_ratio`."""
    weight_decay: float = Field(0.0, ge=0, le=1)
    """Weight decay of AdamW, decoupled from the gradient; 0 is none."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradient-norm clipping: gradients with a larger norm are scaled down to this threshold.
    Also: `gradient_clipping`."""
    seed: int = 0
    """Random seed of adapter initialisation, row order and dropout."""
    save_steps: int = Field(50, ge=1)
    """Checkpoint interval: optimizer steps between two checkpoints, from which an interrupted run resumes."""
    keep: int = Field(2, ge=1, le=1000)
    """Checkpoints kept, the newest ones; should the newest be damaged, the run resumes from the one before.
    Also: `save_total_limit`."""
    best: bool = False
    """Publish the checkpoint with the lowest held-out loss, not the last weights; needs eval.steps.
    Also: `load_best_model_at_end`."""
    stop_at_loss: float | None = Field(None, gt=0)
    """Training-loss threshold: stop once the smoothed training loss is this low; empty trains to the end."""
    log_steps: int = Field(5, ge=1)
    """Logging interval: report the training loss every this many optimizer steps. Also: `logging_steps`."""
    packing: Literal["auto", "on", "off"] = "auto"
    """Sequence packing: the rows of a batch in one sequence without padding, kept apart by their positions; auto packs
    on a CPU and with flash attention. Also: `sample_packing`, `neat_packing`, padding-free."""
    gradient_checkpointing: Literal["auto", "on", "off"] = "auto"
    """Gradient checkpointing: recompute activations in the backward pass instead of storing them, for less memory and a
    third less speed; auto does it if memory runs out. Also: activation checkpointing."""
    compile: bool = False
    """Compile the layers with torch.compile: a minute's wait for faster steps, for long runs. Also: `torch_compile`."""
    preflight: bool = True
    """Preflight: two trial steps at the longest rows before step 1, to measure memory and time and check the disk.
    Also: memory estimate, dry run."""
    output: str = ""
    """Output directory of the result; empty publishes under the job's name in Camelid's home. Also: `output_dir`."""
    report_to: list[Literal["tensorboard", "trackio", "wandb", "mlflow"]] = []
    """Trackers (loggers) that get the curves too: tensorboard, trackio, wandb or mlflow; only wandb sends them to the
    net."""


class EvalSection(Config):
    """Evaluation during training: held-out loss, early stopping, sample answers."""

    steps: int | None = Field(None, ge=1)
    """Evaluation interval: measure the held-out loss (validation loss) every this many optimizer steps; empty measures
    before and after only. Also: `eval_steps`."""
    patience: int | None = Field(None, ge=1)
    """Early-stopping patience: stop after this many evaluations in a row without a new lowest held-out loss; needs
    eval.steps; empty never stops early. Also: `early_stopping_patience`."""
    batch_size: int = Field(16, ge=1, le=4096)
    """Evaluation batch size: held-out rows in one forward pass.
    Also: `per_device_eval_batch_size`, `eval_batch_size`."""
    samples: int = Field(2, ge=0, le=32)
    """Sample generations: held-out prompts that the model answers at each evaluation, also before the first step and
    after the last; 0 is none. Also: `eval_table_size`."""
    sample_tokens: int = Field(64, ge=1, le=4096)
    """Maximum new tokens of each sample generation. Also: `max_new_tokens`."""


class LaunchSection(Config):
    """Distributed training: processes, machines, and how they share the model."""

    executor: Annotated[str, OfThisMachine] = "local"
    """Executor that runs the job: local, or one from a plugin, such as a cluster. Also: launcher, scheduler."""
    processes: int = Field(1, ge=1, le=1024)
    """Processes per machine (data parallelism), each with a GPU of its own and its own rows of every step.
    Also: `nproc_per_node`, `num_processes`."""
    nodes: int = Field(1, ge=1, le=1024)
    """Nodes: machines that share the run. A queued run begins once so many workers are there at the same time, and an
    executor such as ray starts it on each. Also: `nnodes`, `num_machines`."""
    shards: int = Field(1, ge=1, le=256)
    """Shards: parts of the data that are tokenised at the same time, on an executor that divides jobs; the rows are
    those of one process. Also: `preprocessing_num_workers`."""
    strategy: Literal["ddp", "fsdp", "deepspeed"] = "ddp"
    """Distributed strategy: ddp gives each process the whole model, fsdp and deepspeed (ZeRO) cut it in shards."""
    zero: Literal[2, 3] = 2
    """ZeRO stage of deepspeed: 2 shards gradients and optimizer state, 3 the weights as well. Also: `zero_stage`."""
    gpu_memory: float | None = Field(None, gt=0, le=10_000)
    """GPU memory that a queued run is given on each of its cards, in GB; empty takes what was measured or estimated."""
    memory: float | None = Field(None, gt=0, le=100_000)
    """Main memory that a queued run is given, in GB; empty takes what was measured or estimated. Also: RAM."""
    cores: int | None = Field(None, ge=1, le=4096)
    """CPU cores that a queued run is given; empty takes one per process beside a GPU, else all."""


if TYPE_CHECKING:
    AnyMethod = Method
    AnyObjective = Objective
else:  # the section's `type` says which class reads it; forms show the default's fields
    AnyMethod = Annotated[LoraMethod | Any, PlainValidator(read_method)]
    AnyObjective = Annotated[SftObjective | Any, PlainValidator(read_objective)]


class Recipe(Config):
    """The configuration of a training run."""

    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    method: AnyMethod = LoraMethod()
    """Tuning method: which weights are trained, as in lora, qlora or full, and how they are saved.
    Also: `finetuning_type`, `adapter`, `peft_type`."""
    objective: AnyObjective = SftObjective()
    """Training objective: sft (supervised fine-tuning), dpo, kto or orpo (preference optimisation), or grpo (rewards).
    Also: `stage`, `rl`."""
    train: TrainSection = TrainSection()
    eval: EvalSection = EvalSection()
    launch: LaunchSection = LaunchSection()

    @property
    def publish_to(self) -> str:
        """Where the result goes."""
        return self.train.output

    @classmethod
    def forms(cls, field: str) -> list[type[Config]]:
        """The classes of a section by its `type`, the default's first; none for sections of one class."""
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

    def with_absolute_paths(self) -> Recipe:
        """With relative paths made absolute: a job runs in another directory than the one it is typed in."""
        data = {"sources": [_with_absolute_paths(text) for text in self.data.sources]}
        return self.model_copy(
            update={
                "model": self.model.model_copy(update={"name": absolute_if_path(self.model.name)}),
                "data": self.data.model_copy(update=data),
                "train": self.train.model_copy(update={"output": absolute_if_path(self.train.output)}),
            }
        )


def _with_absolute_paths(source: str) -> str:
    """One source or several joined with a plus, each with its weight."""
    whole = Source.parse(source)
    texts = source.split("+") if "+" in source and not is_existing_path(whole.name) else [source]
    parts = [Source.parse(text.strip()) for text in texts]
    return "+".join(_anchored_name(part.name) + (f":{part.weight!r}" if part.weight != 1 else "") for part in parts)


def _anchored_name(name: str) -> str:
    """A directory is no source: one that happens to be called like a dataset leaves the name alone."""
    return name if validated_path(name, "source").is_dir() else absolute_if_path(name)


def _check_size(value: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)? ?[KMGT]B", value, re.ASCII | re.IGNORECASE):
        raise ValueError(f"{value!r} is no size; write it like 500MB or 4GB")
    return value


ShardSize = Annotated[str, AfterValidator(_check_size)]
"""A size in decimal units, as `500MB` or `4GB`."""


def byte_count(size: str) -> int:
    """Bytes of a `ShardSize`."""
    return int(float(size[:-2]) * 1000 ** ("KMGT".index(size[-2].upper()) + 1))


def plain_name(text: str, empty: str) -> str:
    """`text` in characters that the name of a job may have, else `empty`; with room for a suffix."""
    return re.sub(r"[^A-Za-z0-9._-]+|\.{2,}", "-", text).strip("._-")[:56] or empty
