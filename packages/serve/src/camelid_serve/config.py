"""Configuration of engines, of batch prediction and of answer-accuracy evaluation.

Knows fields, bounds and their help. Imports no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from camelid_core.config import Config
from camelid_core.paths import absolute_if_path
from camelid_core.references import DataName, ModelName, ModelNames, OfThisMachine
from pydantic import Field

from .engine import Sampling

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


class EngineConfig(Config):
    """How models are loaded into an engine."""

    template: str = ""
    """Prompt template; empty takes the model's own. Also: chat template."""
    dtype: Dtype = "auto"
    """dtype of the weights; auto is bfloat16 where the device multiplies it natively, else float32."""
    engine: str = "transformers"
    """Engine that runs the models, with its settings behind its name. Also: backend."""
    slots: int = 16
    """Slots: requests that run at once in the batch. Also: `max_num_seqs`, `--parallel`."""


DEFAULT_ENGINE = EngineConfig()


class _GenerationConfig(Config):
    """Fields shared by the tasks that generate answers to many prompts."""

    model: ModelName = "smollm2-135m"
    """Model or adapter that answers: a name or an artefact's directory. Also: `model_name_or_path`."""
    template: str = ""
    """Prompt template; empty takes the model's own, another one is recorded in the result. Also: chat template."""
    sampling: Sampling = Sampling()
    """Sampling parameters."""
    batch_size: int = Field(128, ge=1, le=4096)
    """Maximum batch size in rows; the engine runs fewer at once where memory has no room for their KV cache.
    Also: `per_device_eval_batch_size`."""
    dtype: Dtype = "auto"
    """dtype of the weights; auto is bfloat16 where the device multiplies it natively, else float32.
    Also: `torch_dtype`, precision."""
    engine: Annotated[str, OfThisMachine] = "transformers"
    """Inference engine that runs the model, with its settings behind its name. Also: backend."""
    output: str = ""
    """Output directory of the result; empty publishes under the job's name in Camelid's home. Also: `output_dir`."""

    @property
    def engine_config(self) -> EngineConfig:
        return EngineConfig(template=self.template, dtype=self.dtype, engine=self.engine, slots=self.batch_size)

    @property
    def publish_to(self) -> str:
        """Where the result goes."""
        return self.output

    def _with_absolute_paths(self, *fields: str) -> Self:
        """With relative paths made absolute: a job runs in another directory than the one it is typed in."""
        return self.model_copy(
            update={field: absolute_if_path(getattr(self, field)) for field in ("model", "output", *fields)}
        )


class PredictLaunch(Config):
    """Where a batch prediction runs, and whether its rows are divided."""

    executor: str = "local"
    """Executor that runs the job: local, or one from a plugin, such as a cluster. Also: launcher, scheduler."""
    shards: int = Field(1, ge=1, le=256)
    """Shards: ranges of rows that are answered at the same time, each by a process with the model loaded, on an
    executor that divides jobs; the result is that of one process. Also: data parallelism, replicas."""


class PredictConfig(_GenerationConfig):
    """Batch prediction: answer every row of a file."""

    input: DataName
    """Data file (JSON, JSON Lines, CSV, TSV or Parquet) or dataset name; rows need no answer."""
    columns: str = ""
    """Column mapping of a file, such as instruction=question; empty recognises the format by its columns."""
    reference: str = ""
    """Column with the gold answers, for scores; empty takes the answer that rows of a known format have. Also: label,
    ground truth."""
    prefill: str = ""
    """Text that every answer begins with: the model continues it. Also: `gen_prefix`, prefill of the answer."""
    continue_answers: bool = False
    """Continue the answer that a row's conversation ends with; else that answer is the gold answer, and what comes
    before it is asked. Also: `continue_final_message`."""
    suffixes: list[str] = []
    """Chain-of-thought suffixes by name, appended to every question as in chat; the rows stay as they are."""
    also: ModelNames = []
    """Further models or adapters that answer the same rows, one after the other."""
    out: Annotated[str, OfThisMachine] = ""
    """File that gets the answered rows too, as JSON Lines, whoever finishes the job; empty writes only the result."""
    limit: int | None = Field(None, ge=1)
    """Maximum number of rows; empty takes all. Also: `max_samples`, `max_predict_samples`."""
    base: bool = False
    """Answer with the base model, with the adapter switched off."""
    launch: PredictLaunch = PredictLaunch()
    """Where it runs."""

    def with_absolute_paths(self) -> Self:
        anchored = self._with_absolute_paths("input")
        out = str(Path(self.out).absolute()) if self.out else ""
        return anchored.model_copy(update={"also": [absolute_if_path(name) for name in self.also], "out": out})


class EvaluateConfig(_GenerationConfig):
    """Answer accuracy: the share of held-out rows that a model answers exactly right."""

    data: DataName = "cot-arithmetic-en"
    """Evaluation set: a dataset with held-out rows, or a file; each gold answer must state a number.
    Also: `eval_dataset`."""
    rows: int = Field(32, ge=1, le=100_000)
    """Number of rows to score, from the first. Also: `limit`, `max_eval_samples`."""
    base: bool = False
    """Score the base model too, with the adapter switched off, as a baseline."""

    def with_absolute_paths(self) -> Self:
        return self._with_absolute_paths("data")
