"""The settings of an export to GGUF. Imports no torch."""

from __future__ import annotations

from typing import Literal, Self

from camelid_core.paths import absolute_if_path
from camelid_train.config import ShardSize
from camelid_train.sections import ExportSection
from pydantic import model_validator

Quantization = Literal[
    "f32", "bf16", "f16", "q8_0", "q6_k", "q5_k_m", "q5_k_s", "q5_1", "q5_0", "q4_k_m", "q4_k_s", "q4_1", "q4_0",
    "iq4_nl", "iq4_xs", "q3_k_l", "q3_k_m", "q3_k_s", "q2_k", "q2_k_s",
]  # fmt: skip
"""llama.cpp's names of mixtures, in lower case; `mixtures.MIXTURES` has the same."""


class GgufSection(ExportSection):
    """GGUF: one file for llama.cpp and the programs made with it, from 32 down to 2 bits per weight."""

    type: Literal["gguf"] = "gguf"
    quantization: Quantization = "q4_k_m"
    """Number format, by llama.cpp's name: f16 and q8_0 give the same answers nearly always, q4_k_m is the usual choice.
    Also: `outtype`, `quantization_method`."""
    calibration: list[str] = []
    """Calibration data, for an importance matrix: datasets as in a recipe, or `own` for the rows that the model was
    trained on; empty weighs all columns alike."""
    calibration_rows: int = 128
    """Calibration rows: how many rows the importance matrix is computed on."""
    imatrix: str = ""
    """Importance matrix: a file that was computed before, here or by llama.cpp (`llama-imatrix`)."""
    split: ShardSize | Literal[""] = ""
    """Split size: the most bytes of weights in one file, as 4GB; empty writes one file. Also: `split_max_size`."""

    @model_validator(mode="after")
    def _one_source_of_importances(self) -> Self:
        if self.imatrix and self.calibration:
            raise ValueError("give `imatrix` or `calibration`, not both")
        return self

    def with_absolute_paths(self) -> Self:
        """With relative paths made absolute."""
        return self.model_copy(update={
            "imatrix": absolute_if_path(self.imatrix) if self.imatrix else "",
            "calibration": [absolute_if_path(each) for each in self.calibration],
        })  # fmt: skip

    @property
    def weighted(self) -> bool:
        """Whether columns are weighted by an importance matrix."""
        return bool(self.imatrix or self.calibration)
