"""Tensor rules: which tensors of an original checkpoint become which of a converted one, and writing those.

Every tensor is read, converted and written by itself: a checkpoint of any size is converted in the memory of a file or
two. What is missing, unexpected or of another shape is named before anything is written. Knows names, shapes and files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError

from .checkpoint_converters import ConversionProgress
from .original_weights import OriginalWeights
from .weight_files import ShardWriter

SHARD_BYTES = 5_000_000_000


@dataclass(frozen=True, slots=True)
class TensorRule:
    """`sources`, original names and the shape that each must have, become `targets`. `function` takes the sources'
    tensors, in order, and returns one tensor per target; without it there are one source and one target, as it is. It
    must not depend on values where it decides on shapes: these are found by calling it with tensors on `meta`."""

    sources: Mapping[str, tuple[int, ...]]
    targets: tuple[str, ...]
    function: Callable[..., Sequence[Any]] | None = None

    def __call__(self, tensors: Sequence[Any]) -> Sequence[Any]:
        return self.function(*tensors) if self.function else tensors


def renamed(source: str, target: str, *shape: int) -> TensorRule:
    """A tensor that is kept as it is under another name."""
    return TensorRule({source: shape}, (target,))


def convert_weights(
    weights: OriginalWeights,
    rules: Sequence[TensorRule],
    output: Path,
    progress: ConversionProgress,
    ignored: str = "",
    limit: int = SHARD_BYTES,
) -> None:
    """Write the converted tensors into `output` as safetensors of at most `limit` bytes each, with an index. `ignored`
    is a pattern for the whole names of original tensors that carry nothing, such as cached rotary frequencies.

    Raises:
        ModelError: a tensor is missing, unexpected or of another shape; named.
    """
    _check(weights, rules, ignored)
    facts = {name: fact for rule in rules for name, fact in _results(weights, rule).items()}
    done = 0
    with ShardWriter(output, "model", limit, facts) as writer:
        for rule in rules:
            tensors = rule([weights.tensor(name) for name in rule.sources])
            for name, tensor in zip(rule.targets, tensors, strict=True):
                progress(done, len(facts), name)
                writer.add(name, tensor)
                done += 1
    progress(done, len(facts), "")


def _check(weights: OriginalWeights, rules: Iterable[TensorRule], ignored: str) -> None:
    expected = {name: shape for rule in rules for name, shape in rule.sources.items()}
    if missing := [name for name in expected if name not in weights]:
        raise ModelError(
            f"the checkpoint lacks the tensor {missing[0]!r}{_and_more(missing)}, which its config.json asks for. Copy "
            "its files again, all of them."
        )
    for name, shape in expected.items():
        if weights.shape(name) != shape:
            raise ModelError(
                f"the checkpoint's tensor {name!r} has the shape {list(weights.shape(name))}, where its config.json "
                f"asks for {list(shape)}. Weights and config.json are of different models; copy both again."
            )
    carries_nothing = re.compile(ignored or r"(?!)")
    if spare := [name for name in weights.names if name not in expected and not carries_nothing.fullmatch(name)]:
        raise ModelError(
            f"the checkpoint holds the tensor {spare[0]!r}{_and_more(spare)}, for which its config.json has no place. "
            "Weights and config.json are of different models; copy both again."
        )


def _results(weights: OriginalWeights, rule: TensorRule) -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Dtype and shape of each target."""
    import torch

    made = rule([torch.empty(shape, dtype=weights.dtype(name), device="meta") for name, shape in rule.sources.items()])
    return {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in zip(rule.targets, made, strict=True)}


def _and_more(names: Sequence[str]) -> str:
    return f" and {len(names) - 1:,} more" if len(names) > 1 else ""
