"""Quantising with ggml's own functions, which the library in xllamacpp's wheel exports: no compiler is needed.

Knows `ggml_quantize_chunk` (github.com/ggml-org/llama.cpp, ggml/include/ggml.h) and threads. Knows nothing of models.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from ctypes import c_int, c_int64, c_size_t, c_void_p
from functools import cache
from typing import Any

from camelid_core.errors import ModelError
from camelid_llamacpp import c_api

from .number_formats import number_of, row_bytes

_CHUNK = 1 << 18
"""Numbers that a thread quantises in one call."""
_PLAIN = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def stored(name: str, values: Any, number_format: str, importances: Any = None) -> Any:
    """A tensor's bytes as a GGUF file stores them: a numpy array of uint8.

    `values` is a float32 tensor of rows; `importances` has one float32 for each column, or is None. `name` is for
    messages.

    Raises:
        ModelError: numbers that are none, or that the format cannot hold.
    """
    import torch

    if not bool(torch.isfinite(values).all()):
        raise ModelError(f"{name!r} holds numbers that are not finite; the model is broken, or its training diverged.")
    if number_format not in _PLAIN:
        return _quantise(values.contiguous(), number_format, importances)
    plain = values.to(getattr(torch, _PLAIN[number_format])).contiguous()
    if number_format == "F16" and not bool(torch.isfinite(plain).all()):
        raise ModelError(
            f"{name!r} holds numbers up to {float(values.abs().max()):,.0f}, and float16 ends at 65,504; "
            "choose quantization=bf16."
        )
    return plain.reshape(-1).view(torch.uint8).numpy()


def _quantise(values: Any, number_format: str, importances: Any) -> Any:
    import numpy as np
    import torch

    columns = values.shape[-1]
    rows = values.numel() // columns
    result = np.empty(rows * row_bytes(number_format, columns), np.uint8)
    function, kind = _library().ggml_quantize_chunk, number_of(number_format)
    weights = None if importances is None else c_void_p(importances.data_ptr())
    source, target = c_void_p(values.data_ptr()), c_void_p(result.ctypes.data)
    step = max(1, _CHUNK // columns)

    def work(first: int) -> int:
        count = min(step, rows - first)
        return int(function(kind, source, target, first * columns, count, columns, weights))

    with ThreadPoolExecutor(torch.get_num_threads()) as threads:  # the calls release Python's lock
        written = sum(threads.map(work, range(0, rows, step)))
    if written != result.nbytes:
        raise ModelError(f"llama.cpp wrote {written:,} bytes where {result.nbytes:,} were expected ({number_format}).")
    return result


@cache
def _library() -> Any:
    library = c_api.library()
    function = library.ggml_quantize_chunk
    function.restype = c_size_t
    function.argtypes = [c_int, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_void_p]
    return library
