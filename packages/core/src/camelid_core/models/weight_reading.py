"""How far a model's weights have been read, for whoever listens while it is loaded.

Knows safetensors files, and that Transformers takes their tensors one by one. Knows nothing of who listens: a model is
loaded many calls deep. Imports Transformers inside.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camelid_core.integrity import safetensors_header

_SECONDS_BETWEEN = 0.2
_TRANSFORMERS_LOOP = "Loading weights"
"""What Transformers calls the loop that puts tensors into the model."""


@dataclass(frozen=True, slots=True)
class WeightsRead:
    """`done` of the `total` bytes are in the model; the last of them came from `file`."""

    file: str
    done: int
    total: int


WeightsListener = Callable[[WeightsRead], None]
_listener: ContextVar[WeightsListener | None] = ContextVar("weights listener", default=None)


@contextmanager
def weights_listener(listener: WeightsListener) -> Iterator[None]:
    """Tell `listener`, a few times a second, how far the weights are read that this thread loads meanwhile."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def weights_counted(directory: Path) -> Iterator[None]:
    """Count what Transformers loads from `directory` meanwhile, if anybody listens."""
    listener = _listener.get()
    if listener is None:
        yield
        return
    from transformers.utils import logging

    sizes = _tensor_sizes(directory)

    def hook(bar: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if options.get("desc") != _TRANSFORMERS_LOOP:
            return bar(*args, **options)
        return _counted(list(args[0]), sizes, listener)

    before = logging.set_tqdm_hook(hook)
    try:
        yield
    finally:
        logging.set_tqdm_hook(before)


def _tensor_sizes(directory: Path) -> dict[str, tuple[str, int]]:
    """Of every tensor: its file's name, and its bytes there."""
    return {
        tensor: (path.name, item["data_offsets"][1] - item["data_offsets"][0])
        for path in sorted(directory.glob("*.safetensors"))
        for tensor, item in safetensors_header(path).items()
        if tensor != "__metadata__"
    }


def _counted(
    parameters: list[tuple[str, Any]], sizes: Mapping[str, tuple[str, int]], listener: WeightsListener
) -> Iterator[tuple[str, Any]]:
    """The parameters, as Transformers goes through them; each is made of one tensor of the files or of several."""
    parts = [_parts(made_of, sizes) for _, made_of in parameters]
    total = sum(size for each in parts for _, size in each)
    done, told_at = 0, float("-inf")
    for number, (parameter, part) in enumerate(zip(parameters, parts, strict=True), 1):
        if part and time.monotonic() - told_at >= _SECONDS_BETWEEN:
            listener(WeightsRead(part[-1][0], done, total))
            told_at = time.monotonic()
        yield parameter
        done += sum(size for _, size in part)
        if part and number == len(parameters):
            listener(WeightsRead(part[-1][0], done, total))


def _parts(made_of: Any, sizes: Mapping[str, tuple[str, int]]) -> list[tuple[str, int]]:
    names: Iterable[str] = set().union(*made_of.layer_targets.values())
    return [sizes[name] for name in sorted(names) if name in sizes]
