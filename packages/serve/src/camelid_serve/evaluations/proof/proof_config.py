"""Configuration of a proof. Knows fields, bounds and their help. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from camelid_core.config import Config
from camelid_core.paths import absolute_if_path
from pydantic import Field, field_validator

from camelid_serve.config import Dtype, EngineConfig

LIMITS = ("kl_mean", "top_equal", "perplexity_ratio")
"""Limits by name, as `limits` takes them."""
_SLOTS = 4


class ProofConfig(Config):
    """Compare an export with the model that it was made of, on held-out text, and say whether it is as good."""

    source: str
    """Source: the model or adapter that the export was made of, by name or directory. Also: reference, base model."""
    export: str
    """Export: what was made of it, or any model to compare with the source: a name, a directory or a GGUF file."""
    data: str = ""
    """Held-out text: a dataset with held-out rows, or a file; empty takes the held-out rows of what the model was
    trained on, or else built-in texts. Rows of the export's calibration are left out. Also: `eval_dataset`."""
    rows: int = Field(64, ge=2, le=100_000)
    """Maximum number of texts; the more, the narrower the intervals. Also: `limit`, `max_eval_samples`, chunks."""
    cutoff: int = Field(512, ge=16, le=131072)
    """Cut-off: longest text in tokens; of longer ones the beginning is taken. Also: `max_seq_length`, `n_ctx`."""
    template: str = ""
    """Prompt template of the texts; empty takes the source's own. Also: chat template."""
    source_engine: str = "transformers"
    """Inference engine that runs the source, with its settings behind its name. Also: backend."""
    engine: str = "transformers"
    """Inference engine that runs the export, with its settings behind its name; GGUF files get one that runs them.
    Also: backend."""
    source_dtype: Dtype = "float32"
    """dtype of the source's weights: float32 keeps the rounding of the reference out of the comparison; auto is the one
    it is served in, in half the memory. Also: `torch_dtype`, precision."""
    dtype: Dtype = "auto"
    """dtype of the export's weights, where its engine loads them itself; auto is the one it is served in.
    Also: `torch_dtype`, precision."""
    top: int = Field(20, ge=1, le=1000)
    """Top log-probabilities: how many are asked of an engine that tells no whole distributions.
    Also: `top_logprobs`."""
    sample_tokens: int = Field(48, ge=1, le=4096)
    """Maximum length in tokens of the greedy samples. Also: `max_new_tokens`."""
    limits: dict[str, float] = {}
    """Limits in place of those of the export's format, by name: kl_mean (highest mean KL divergence per token),
    top_equal (lowest share of equal top tokens), perplexity_ratio (highest, and one divided by it is the lowest)."""
    record: bool | None = None
    """Record the proof in the export: proof.json, manifest and card; empty does so for exports in Camelid's home
    alone."""
    output: str = ""
    """Output directory of the result; empty publishes under the job's name in Camelid's home. Also: `output_dir`."""

    @field_validator("limits")
    @classmethod
    def _known(cls, value: dict[str, float]) -> dict[str, float]:
        for name, limit in value.items():
            if name not in LIMITS:
                raise ValueError(f"there is no limit {name!r}; limits are {', '.join(LIMITS)}")
            low, high = {"kl_mean": (0.0, 100.0), "top_equal": (0.0, 1.0), "perplexity_ratio": (1.0, 1e6)}[name]
            if not low <= limit <= high:
                raise ValueError(f"{name} must be from {low:g} to {high:g}, not {limit:g}")
        return value

    @property
    def publish_to(self) -> str:
        """Where the result goes."""
        return self.output

    @property
    def default_name(self) -> str:
        """The default name of its job: after the export."""
        return f"{Path(self.export).stem or 'model'}-proof"

    @property
    def source_engine_config(self) -> EngineConfig:
        return EngineConfig(template=self.template, dtype=self.source_dtype, engine=self.source_engine, slots=_SLOTS)

    @property
    def export_engine_config(self) -> EngineConfig:
        return EngineConfig(dtype=self.dtype, engine=self.engine, slots=_SLOTS)

    def with_absolute_paths(self) -> Self:
        """With relative paths made absolute: a job runs in another directory than the one it is typed in."""
        update = {name: absolute_if_path(getattr(self, name)) for name in ("source", "export", "data", "output")}
        return self.model_copy(update=update)
