"""The number formats of tensors in GGUF files: their numbers, and how many bytes a row takes.

Knows blocks and bytes, as the package `gguf` has them. Knows nothing of models.
"""

from __future__ import annotations

from functools import cache
from typing import Final

FALLBACKS: Final = {
    "IQ4_XS": "IQ4_NL", "Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"
}  # fmt: skip
"""What llama.cpp stores rows in whose length is no multiple of 256; F16 where it is none of 32 either."""
PLAIN = ("F32", "F16", "BF16")
"""Formats that store each number by itself."""


@cache
def blocks(name: str) -> tuple[int, int]:
    """How many numbers a block of the format holds, and in how many bytes."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    numbers, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    return int(numbers), int(size)


@cache
def number_of(name: str) -> int:
    """The format's number in ggml."""
    from gguf import GGMLQuantizationType

    return int(GGMLQuantizationType[name])


def row_bytes(name: str, columns: int) -> int:
    """Bytes of a row of that many numbers. Raises ValueError: it does not divide into blocks."""
    numbers, size = blocks(name)
    if columns % numbers:
        raise ValueError(f"a row of {columns} numbers does not divide into blocks of {numbers} ({name})")
    return columns // numbers * size


def fitting(name: str, columns: int) -> str:
    """The format itself, or what llama.cpp takes in its place for rows of that length."""
    for each in (name, FALLBACKS.get(name, "F16")):
        if columns % blocks(each)[0] == 0:
            return each
    return "F16"
