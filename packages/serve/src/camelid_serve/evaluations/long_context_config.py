"""Configuration of the two long-context evaluations: perplexity and passkey retrieval.

Knows fields, bounds and their help. Imports no torch.
"""

from __future__ import annotations

from typing import Annotated, Self

from camelid_core.config import Config
from camelid_core.errors import CamelidError
from camelid_core.models.rope import RopeScaling
from camelid_core.paths import absolute_if_path
from camelid_core.references import FileName, ModelNames, OfThisMachine
from pydantic import Field, field_validator

from camelid_serve.config import Dtype

Length = Annotated[int, Field(ge=16, le=1 << 20)]


class _LongContextConfig(Config):
    """Fields of both: models, each as it is and under RoPE scaling, at several context lengths."""

    models: ModelNames = Field(["smollm2-135m"], min_length=1)
    """Models and adapters to compare: names or artefact directories."""
    rope: list[str] = []
    """RoPE scalings to compare with each model as it is: linear:2 (position interpolation), dynamic:2 (NTK), yarn:2;
    empty compares none. Also: `rope_scaling`."""
    lengths: list[Length] = Field([256, 512, 1024, 2048], min_length=1)
    """Context lengths to measure at, in tokens; they may exceed the context length that a model was trained with."""
    seed: int = 0
    """Random seed of the generated texts: the same seed makes the same texts."""
    dtype: Dtype = "auto"
    """dtype of the weights; auto is bfloat16 where the device multiplies it natively, else float32.
    Also: `torch_dtype`, precision."""
    output: str = ""
    """Output directory of the result; empty publishes under the job's name in Camelid's home. Also: `output_dir`."""

    @field_validator("rope")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        for each in value:
            try:
                RopeScaling.parse(each)
            except CamelidError as error:
                raise ValueError(str(error)) from None
        return list(dict.fromkeys(value))

    @field_validator("lengths")
    @classmethod
    def _ascending(cls, value: list[int]) -> list[int]:
        return sorted(set(value))

    @field_validator("models")
    @classmethod
    def _once(cls, value: list[str]) -> list[str]:
        return list(dict.fromkeys(value))

    @property
    def publish_to(self) -> str:
        """Where the result goes."""
        return self.output

    def _with_absolute_paths(self, **more: str) -> Self:
        """With relative paths made absolute: a job runs in another directory than the one it is typed in."""
        models = [absolute_if_path(model) for model in self.models]
        return self.model_copy(update={"models": models, "output": absolute_if_path(self.output), **more})


class ContextConfig(_LongContextConfig):
    """Perplexity by context length, over a sliding window."""

    text: FileName = ""
    """Text file, or rows with a `text` column (JSON Lines, JSON, CSV, Parquet); empty generates a text."""
    windows: int = Field(16, ge=1, le=10_000)
    """Number of windows, spread evenly over the text and ending at the same places for every context length."""
    predicted: int = Field(128, ge=1, le=4096)
    """Stride in tokens: how many tokens at the end of each window are predicted; at most half of the shortest context
    length, so that each has that much context at least."""

    def with_absolute_paths(self) -> Self:
        return self._with_absolute_paths(text=absolute_if_path(self.text))

    @property
    def stride(self) -> int:
        """Tokens predicted at each place: the first of them has half of the shortest context before it at least."""
        return min(self.predicted, self.lengths[0] // 2)


class PasskeyConfig(_LongContextConfig):
    """Passkey retrieval: models find a number that is hidden in long texts. Also: needle in a haystack."""

    depths: list[Annotated[float, Field(ge=0, le=1)]] = Field([0.0, 0.25, 0.5, 0.75, 1.0], min_length=1)
    """Depths of the passkey in the text: 0 is its beginning and 1 its end."""
    trials: int = Field(2, ge=1, le=1000)
    """Trials per context length and depth, each with a passkey of its own."""
    template: str = ""
    """Prompt template; empty takes each model's own. Also: chat template."""
    engine: Annotated[str, OfThisMachine] = "transformers"
    """Inference engine that runs the models, with its settings behind its name. Also: backend."""

    @field_validator("depths")
    @classmethod
    def _deeper(cls, value: list[float]) -> list[float]:
        return sorted(set(value))

    def with_absolute_paths(self) -> Self:
        return self._with_absolute_paths()
