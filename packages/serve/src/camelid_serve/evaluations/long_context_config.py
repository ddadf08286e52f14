"""What the two evaluations of long contexts can be told.

Knows fields, bounds and their help. Imports no torch.
"""

from __future__ import annotations

from typing import Annotated, Self

from camelid_core.config import Config
from camelid_core.errors import CamelidError
from camelid_core.models.rope import RopeScaling
from camelid_core.paths import anchor
from pydantic import Field, field_validator

from camelid_serve.config import Dtype

Length = Annotated[int, Field(ge=16, le=1 << 20)]


class _Compared(Config):
    """What both share: models, each as it is and with its positions stretched, at several lengths."""

    models: list[str] = Field(["smollm2-135m"], min_length=1)
    """Models and artefacts to compare: names or directories."""
    rope: list[str] = []
    """Ways to stretch each model's positions, to compare with it as it is: linear:2, dynamic:2, yarn:2."""
    lengths: list[Length] = Field([256, 512, 1024, 2048], min_length=1)
    """Lengths of context to measure at, in tokens; they may go beyond what a model was trained with."""
    seed: int = 0
    """The same seed makes the same texts."""
    dtype: Dtype = "auto"
    """Number format of the weights; auto is bfloat16 where the device multiplies it natively, else float32."""
    output: str = ""
    """Directory for the result; empty publishes under the job's name in Camelid's home."""

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

    def _anchored(self, **more: str) -> Self:
        """With relative paths made absolute: a job runs in another directory than the one it is typed in."""
        models = [anchor(model) for model in self.models]
        return self.model_copy(update={"models": models, "output": anchor(self.output), **more})


class ContextConfig(_Compared):
    """Measure perplexity against the length of the context."""

    text: str = ""
    """Text file, or rows with a `text` column (JSON Lines, JSON, CSV, Parquet); empty generates a text of its own."""
    windows: int = Field(16, ge=1, le=10_000)
    """Places in the text where tokens are predicted, spread over all of it; the same for every length."""
    predicted: int = Field(128, ge=1, le=4096)
    """Tokens predicted at each place, at most half of the shortest length."""

    def anchored(self) -> Self:
        return self._anchored(text=anchor(self.text))

    @property
    def stride(self) -> int:
        """Tokens predicted at each place: the first of them has half of the shortest context before it at least."""
        return min(self.predicted, self.lengths[0] // 2)


class PasskeyConfig(_Compared):
    """Have models find a key that is hidden in long texts."""

    depths: list[Annotated[float, Field(ge=0, le=1)]] = Field([0.0, 0.25, 0.5, 0.75, 1.0], min_length=1)
    """Where the key stands: 0 is the beginning of the text and 1 its end."""
    trials: int = Field(2, ge=1, le=1000)
    """Texts for each length and depth, each with a key of its own."""
    template: str = ""
    """Prompt template; empty takes each model's own."""
    engine: str = "transformers"
    """Engine that runs the models."""

    @field_validator("depths")
    @classmethod
    def _deeper(cls, value: list[float]) -> list[float]:
        return sorted(set(value))

    def anchored(self) -> Self:
        return self._anchored()
