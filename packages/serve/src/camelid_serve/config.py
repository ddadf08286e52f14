"""How models are opened, and what batch predict and evaluation can be told.

Knows fields, bounds and their help. Imports no torch.
"""

from __future__ import annotations

from typing import Literal, Self

from camelid_core.config import Config
from camelid_core.paths import anchor
from pydantic import Field

from .engine import Sampling

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


class Opening(Config):
    """How models are made resident."""

    template: str = ""
    """Overrides the models' own."""
    dtype: Dtype = "auto"
    """Number format."""
    engine: str = "transformers"
    """What runs them."""
    slots: int = 16
    """Answers at once."""


USUAL = Opening()


class _Answering(Config):
    """What every task that answers many prompts shares."""

    model: str = "smollm2-135m"
    """Model or artefact that answers: a name or a directory."""
    template: str = ""
    """Prompt template; empty takes the model's own, another one is recorded in the result."""
    sampling: Sampling = Sampling()
    """How answers are chosen and when they end."""
    batch_size: int = Field(128, ge=1, le=4096)
    """Most rows that are answered at once; fewer where memory has no room for their keys and values."""
    dtype: Dtype = "auto"
    """Number format of the weights; auto is bfloat16 where the device multiplies it natively, else float32."""
    engine: str = "transformers"
    """Engine that runs the model."""
    output: str = ""
    """Directory for the result; empty publishes under the job's name in Camelid's home."""

    @property
    def opening(self) -> Opening:
        return Opening(template=self.template, dtype=self.dtype, engine=self.engine, slots=self.batch_size)

    @property
    def publish_to(self) -> str:
        """Where the result goes."""
        return self.output

    def _anchored(self, *fields: str) -> Self:
        """With relative paths made absolute: a job runs in another directory than the one it is typed in."""
        return self.model_copy(update={field: anchor(getattr(self, field)) for field in ("model", "output", *fields)})


class PredictConfig(_Answering):
    """Answer every row of a file."""

    input: str
    """Data file (JSON, JSON Lines, CSV, TSV or Parquet) or dataset; rows need no answer."""
    columns: str = ""
    """Which column of a file is what, such as instruction=question; empty reads rows by the names of their columns."""
    reference: str = ""
    """Column with the right answer, for scores; empty takes the answer that a row of a known format has itself."""
    also: list[str] = []
    """Further models or artefacts that answer the same rows, one after the other."""
    limit: int | None = Field(None, ge=1)
    """Take at most this many rows."""
    base: bool = False
    """Answer with the base model, without its adapter."""

    def anchored(self) -> Self:
        anchored = self._anchored("input")
        return anchored.model_copy(update={"also": [anchor(name) for name in self.also]})


class EvaluateConfig(_Answering):
    """Score a model's answers on held-out rows."""

    data: str = "cot-arithmetic-en"
    """Dataset with a held-out part, or a file; each row's answer must state a number."""
    rows: int = Field(32, ge=1, le=100_000)
    """Rows to score."""
    base: bool = False
    """Score the base model without its adapter too, to compare."""

    def anchored(self) -> Self:
        return self._anchored("data")
