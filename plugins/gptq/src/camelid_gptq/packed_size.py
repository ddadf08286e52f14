"""What a GPTQ model weighs, from the shapes of its source alone.

Formula: of a matrix of `rows` x `columns`, packed into 32-bit words, `bits x columns / 32` words for each row, scales
in float16 and zeros for each group of columns and each row, and the group of each column; all else in float16.
Knows shapes. Knows no file format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import ceil, prod

from camelid_core.models.vocabulary import is_table

from .recipes import GptqRecipe

Shapes = Mapping[str, tuple[int, ...]]
_LAYER = re.compile(r"\.\d+\.")
_WORD_BITS, _WORD, _HALF = 32, 4, 2


def quantised_matrices(shapes: Shapes) -> dict[str, tuple[int, int]]:
    """The matrices that are quantised, with rows (outputs) and columns (inputs): those of layers. Embeddings and the
    head stay as they are."""
    return {
        name: (shape[0], shape[1])
        for name, shape in shapes.items()
        if len(shape) == 2 and _LAYER.search(name) and not is_table(name)
    }


def packed_size(shapes: Shapes, recipe: GptqRecipe, zero_bias: bool) -> int:
    """Bytes of all tensors. `zero_bias`: matrices without a bias get one."""
    matrices = quantised_matrices(shapes)
    size = sum(_HALF * prod(shape) for name, shape in shapes.items() if name not in matrices)
    for name, (rows, columns) in matrices.items():
        has_bias = name.removesuffix("weight") + "bias" in shapes
        size += matrix_size(rows, columns, recipe) + (_HALF * rows if zero_bias and not has_bias else 0)
    return size


def matrix_size(rows: int, columns: int, recipe: GptqRecipe) -> int:
    """Bytes of `qweight`, `qzeros`, `scales` and `g_idx` of one matrix."""
    groups = 1 if recipe.group_size == -1 else ceil(columns / recipe.group_size)
    weights = _WORD * columns * recipe.bits // _WORD_BITS * rows
    zeros = _WORD * groups * rows * recipe.bits // _WORD_BITS
    return weights + zeros + _HALF * groups * rows + _WORD * columns


def odd_columns(shapes: Shapes, group_size: int) -> int:
    """How many matrices have columns that are no multiple of the group size: their last group is smaller."""
    columns = [columns for _, columns in quantised_matrices(shapes).values()]
    return sum(group_size > 0 and each % group_size > 0 for each in columns)


def unpackable(shapes: Shapes, bits: int) -> list[str]:
    """Matrices whose sides do not fill 32-bit words, which the format cannot hold."""
    matrices = quantised_matrices(shapes)
    return [name for name, sides in matrices.items() if any(side * bits % _WORD_BITS for side in sides)]


def layer_of(name: str) -> str:
    """The layer that a matrix is part of: its name up to the layer's number."""
    found = _LAYER.search(name)
    return name[: found.end()] if found else ""
