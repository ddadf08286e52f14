"""llama.cpp's C interface, as the library in xllamacpp's wheel exports it.

Knows where that library is, and the functions and structures of `llama.h` that are needed here. Settings are passed by
value, so their layout must be the library's: that is checked before anything is passed, and a build that does not fit
is refused.
"""

from __future__ import annotations

import ctypes
from collections import deque
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int8, c_int32, c_size_t, c_uint32, c_void_p
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from camelid_core.errors import MissingPackage

KNOWN_BUILD = "2026.10.11549"
"""The build that this was written for; others do as long as the layout is the same."""

AUTOMATIC, OFF = -1, 0
F32, F16, BF16 = 0, 1, 30
BPE_VOCABULARY = 2
"""Kind of vocabulary: byte-level BPE."""
CACHE_FULL = 1
"""Return code of `llama_decode` when the KV cache is full; nothing was decoded then."""
_ERROR = 4


_SPARE_BYTES = 128
"""Bytes behind the known fields: those that a newer build has there come from its defaults and are passed back
unchanged."""


class ModelParameters(ctypes.Structure):
    """Passed on as the library gives them."""

    _fields_ = [("all", ctypes.c_uint64 * 32)]


class ContextParameters(ctypes.Structure):
    _fields_ = [
        *((name, c_uint32) for name in ("n_ctx", "n_batch", "n_ubatch", "n_seq_max", "n_rs_seq")),
        *((name, c_uint32) for name in ("n_outputs_max", "n_outputs_max_per_seq")),
        *((name, c_int32) for name in ("n_threads", "n_threads_batch", "ctx_type", "rope_scaling_type")),
        *((name, c_int32) for name in ("pooling_type", "attention_type", "flash_attn_type")),
        *((name, c_float) for name in ("rope_freq_base", "rope_freq_scale", "yarn_ext_factor", "yarn_attn_factor")),
        *((name, c_float) for name in ("yarn_beta_fast", "yarn_beta_slow")),
        ("yarn_orig_ctx", c_uint32),
        ("defrag_thold", c_float),
        ("cb_eval", c_void_p),
        ("cb_eval_user_data", c_void_p),
        ("type_k", c_int32),
        ("type_v", c_int32),
        ("moe_cache_size", c_size_t),
        ("abort_callback", c_void_p),
        ("abort_callback_data", c_void_p),
        *((name, c_bool) for name in ("embeddings", "offload_kqv", "no_perf", "op_offload", "swa_full", "kv_unified")),
        ("samplers", c_void_p),
        ("n_samplers", c_size_t),
        ("ctx_other", c_void_p),
        ("spare", ctypes.c_uint8 * _SPARE_BYTES),
    ]


class LlamaBatchStruct(ctypes.Structure):
    _fields_ = [
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", c_void_p),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
    ]


_DEFAULTS = {
    "n_ctx": 512,
    "n_batch": 2048,
    "n_ubatch": 512,
    "n_seq_max": 1,
    "n_threads": 4,
    "n_threads_batch": 4,
    "flash_attn_type": AUTOMATIC,
    "yarn_ext_factor": -1.0,
    "defrag_thold": -1.0,
    "type_k": F16,
    "type_v": F16,
    "embeddings": False,
    "offload_kqv": True,
    "swa_full": True,
    "kv_unified": False,
}
"""What `llama_context_default_params` returns if our layout is the library's; fields from every part of it."""

_LogFunction: Any = ctypes.CFUNCTYPE(None, c_int32, c_char_p, c_void_p)

# result and arguments of each function; models, contexts and the like are addresses
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "llama_backend_init": (None, []),
    "llama_log_set": (None, [_LogFunction, c_void_p]),
    "llama_model_default_params": (ModelParameters, []),
    "llama_model_load_from_file": (c_void_p, [c_char_p, ModelParameters]),
    "llama_model_free": (None, [c_void_p]),
    "llama_model_get_vocab": (c_void_p, [c_void_p]),
    "llama_model_n_ctx_train": (c_int32, [c_void_p]),
    "llama_model_n_embd": (c_int32, [c_void_p]),
    "llama_model_n_head": (c_int32, [c_void_p]),
    "llama_model_n_head_kv": (c_int32, [c_void_p]),
    "llama_model_n_layer": (c_int32, [c_void_p]),
    "llama_model_n_swa": (c_int32, [c_void_p]),
    "llama_model_has_decoder": (c_bool, [c_void_p]),
    "llama_model_is_recurrent": (c_bool, [c_void_p]),
    "llama_model_is_hybrid": (c_bool, [c_void_p]),
    "llama_vocab_type": (c_int32, [c_void_p]),
    "llama_vocab_n_tokens": (c_int32, [c_void_p]),
    "llama_tokenize": (c_int32, [c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool]),
    "llama_context_default_params": (ContextParameters, []),
    "llama_init_from_model": (c_void_p, [c_void_p, ContextParameters]),
    "llama_free": (None, [c_void_p]),
    "llama_get_memory": (c_void_p, [c_void_p]),
    "llama_memory_seq_rm": (c_bool, [c_void_p, c_int32, c_int32, c_int32]),
    "llama_memory_seq_cp": (None, [c_void_p, c_int32, c_int32, c_int32, c_int32]),
    "llama_memory_clear": (None, [c_void_p, c_bool]),
    "llama_batch_init": (LlamaBatchStruct, [c_int32, c_int32, c_int32]),
    "llama_batch_free": (None, [LlamaBatchStruct]),
    "llama_decode": (c_int32, [c_void_p, LlamaBatchStruct]),
    "llama_get_logits_ith": (c_void_p, [c_void_p, c_int32]),
}

errors: deque[str] = deque(maxlen=8)
"""The last errors that the library logged, in its words."""


def _on_log(level: int, text: bytes, _: Any) -> None:
    if level == _ERROR:
        errors.append(text.decode("utf-8", "replace").strip())


_LOG_CALLBACK = _LogFunction(_on_log)
"""Kept for as long as the library may call it: for good."""


@cache
def library() -> Any:
    """The library, ready to be called. Errors that it logs go to `errors`, and nothing to the screen.

    Raises:
        MissingPackage: it is not here, cannot be loaded, or is not of the layout that is known.
    """
    path = _path()
    try:
        found = ctypes.CDLL(str(path))
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(found, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise MissingPackage(f"llama.cpp cannot be loaded from {str(path)!r}: {error}. {_HELP}") from None
    _check_struct_layout(found)
    found.llama_log_set(_LOG_CALLBACK, None)
    found.llama_backend_init()
    return found


_HELP = f"Type `pip install xllamacpp=={KNOWN_BUILD}`; on Linux it needs the system's libgomp1."


def _path() -> Path:
    spec = find_spec("xllamacpp")
    locations = spec.submodule_search_locations if spec else None
    for location in locations or ():
        for path in Path(location).glob("xllamacpp*.so"):
            return path
    raise MissingPackage(f"llama.cpp is not here. {_HELP}")


def _check_struct_layout(found: Any) -> None:
    defaults = found.llama_context_default_params()
    wrong = [name for name, value in _DEFAULTS.items() if getattr(defaults, name) != value]
    if wrong:
        raise MissingPackage(
            f"xllamacpp {version('xllamacpp')} has a llama.cpp whose settings lie otherwise than is known here "
            f"({', '.join(wrong)}). {_HELP}"
        )
