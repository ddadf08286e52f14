"""A GGUF model in memory and its KV cache, as llama.cpp holds them.

Knows addresses and how much memory a token takes. Knows nothing of requests. For one thread at a time.
A slot is one of several sequences in the KV cache (llama.cpp's `seq_id`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from camelid_core.errors import ModelError
from camelid_core.models.gguf import check_gguf

from . import c_api

MAX_BATCH_TOKENS = 256
"""Most tokens of one `llama_decode` call (`n_batch`): more are hardly faster, and a cancellation waits for these."""
_MIN_CACHE_TOKENS = 512
_TOKENS_PER_SLOT = 1024
"""Tokens of KV cache for each slot at least, memory permitting; a single sequence may use all of it."""
_MEMORY_FRACTION = 0.25
_CACHE_TYPES = {"auto": c_api.F16, "float16": c_api.F16, "bfloat16": c_api.BF16, "float32": c_api.F32}
_TYPE_BYTES = {c_api.F16: 2, c_api.BF16: 2, c_api.F32: 4}


class CacheFull(Exception):
    """The KV cache is full. Nothing was decoded."""


class BatchToken(NamedTuple):
    """A token of a batch; `needs_logits` says that the logits after it are needed."""

    token: int
    position: int
    slot: int
    needs_logits: bool


class GgufModel:
    """Has `slots` sequences at once. `dtype` is the KV cache's: the weights are in whatever the file has."""

    def __init__(self, path: Path, slots: int, dtype: str = "auto") -> None:
        self._library = c_api.library()
        self._model = self._load(path)
        try:
            self._context, self.cache_tokens = self._create_context(path, slots, dtype)
        except BaseException:
            self._library.llama_model_free(self._model)
            raise
        self._memory = self._library.llama_get_memory(self._context)
        self._batch = self._library.llama_batch_init(MAX_BATCH_TOKENS, 0, 1)
        self._vocabulary = self._library.llama_model_get_vocab(self._model)
        self.vocabulary: int = self._library.llama_vocab_n_tokens(self._vocabulary)
        self.context_length = min(self._trained_context, self.cache_tokens)

    @property
    def _trained_context(self) -> int:
        return int(self._library.llama_model_n_ctx_train(self._model))

    @property
    def evicts_whole_sequences(self) -> bool:
        """Whether a sequence can only be evicted as a whole, not from some token on: so it is with sliding windows and
        recurrent states."""
        library, model = self._library, self._model
        states = library.llama_model_is_recurrent(model) or library.llama_model_is_hybrid(model)
        return bool(states or library.llama_model_n_swa(model) > 0)

    def decode(self, tokens: Sequence[BatchToken]) -> torch.Tensor:
        """Decode tokens (prefill or decode step); returns a row of float32 logits for each one that needs them.

        Raises:
            CacheFull: evict something first.
            ModelError: the library failed.
        """
        batch = self._batch
        for index, (token, position, slot, needs_logits) in enumerate(tokens):
            batch.token[index], batch.pos[index], batch.logits[index] = token, position, needs_logits
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, slot
        batch.n_tokens = len(tokens)
        code = self._library.llama_decode(self._context, batch)
        if code == c_api.CACHE_FULL:
            raise CacheFull
        if code:
            raise ModelError(f"llama.cpp could not read {len(tokens)} tokens (code {code}){_library_errors()}.")
        rows = [self._logits(index) for index, batch_token in enumerate(tokens) if batch_token.needs_logits]
        return torch.stack(rows) if rows else torch.empty((0, self.vocabulary))

    def evict(self, slot: int, start: int = 0) -> None:
        """Evict the tokens of a slot from this position on."""
        self._library.llama_memory_seq_rm(self._memory, slot, start, -1)

    def copy_prefix(self, source: int, target: int, end: int) -> None:
        """Let an empty slot share the first tokens of another, without computing or copying them."""
        self._library.llama_memory_seq_cp(self._memory, source, target, 0, end)

    def evict_all(self) -> None:
        self._library.llama_memory_clear(self._memory, True)

    def tokenise(self, text: str) -> list[int] | None:
        """Token ids of a text without control tokens, by llama.cpp's tokenizer; None for vocabularies other than BPE,
        where correct tokenizers may differ."""
        if self._library.llama_vocab_type(self._vocabulary) != c_api.BPE_VOCABULARY:
            return None
        given = text.encode()
        ids = (ctypes.c_int32 * (len(given) + 8))()
        count = self._library.llama_tokenize(self._vocabulary, given, len(given), ids, len(ids), False, False)
        return ids[: max(count, 0)]

    def close(self) -> None:
        self._library.llama_batch_free(self._batch)
        self._library.llama_free(self._context)
        self._library.llama_model_free(self._model)

    def _load(self, path: Path) -> Any:
        c_api.errors.clear()
        check_gguf(path)
        model = self._library.llama_model_load_from_file(str(path).encode(), self._library.llama_model_default_params())
        if not model:
            raise ModelError(f"llama.cpp cannot load {str(path)!r}{_library_errors()}.")
        return model

    def _create_context(self, path: Path, slots: int, dtype: str) -> tuple[Any, int]:
        """A llama.cpp context, and how many tokens its KV cache holds."""
        kind = _CACHE_TYPES[dtype]
        parameters = self._library.llama_context_default_params()
        parameters.n_ctx = cache_tokens = self._affordable_cache_tokens(slots, _TYPE_BYTES[kind])
        parameters.n_seq_max = slots
        parameters.n_batch = parameters.n_ubatch = MAX_BATCH_TOKENS
        parameters.n_threads = parameters.n_threads_batch = torch.get_num_threads()
        parameters.type_k = parameters.type_v = kind
        parameters.kv_unified = True
        if kind == c_api.F32:
            parameters.flash_attn_type = c_api.OFF  # it would accumulate in 16 bits
        c_api.errors.clear()
        context = self._library.llama_init_from_model(self._model, parameters)
        if not context or not self._library.llama_model_has_decoder(self._model):
            raise ModelError(f"llama.cpp cannot answer with {str(path)!r}{_library_errors()}.")
        return context, cache_tokens

    def _affordable_cache_tokens(self, slots: int, size: int) -> int:
        """Size of the KV cache in tokens: the model's context length or more, within a fraction of the free memory."""
        import psutil

        library, model = self._library, self._model
        heads = max(1, library.llama_model_n_head(model))
        width = library.llama_model_n_embd(model) // heads * max(1, library.llama_model_n_head_kv(model))
        token = 2 * size * library.llama_model_n_layer(model) * width
        most: int = int(psutil.virtual_memory().available * _MEMORY_FRACTION) // max(1, token)
        return max(_MIN_CACHE_TOKENS, min(max(self._trained_context, slots * _TOKENS_PER_SLOT), most) // 256 * 256)

    def _logits(self, index: int) -> torch.Tensor:
        address = self._library.llama_get_logits_ith(self._context, index)
        if not address:
            raise ModelError(f"llama.cpp has no logits for token {index}{_library_errors()}.")
        return torch.frombuffer((ctypes.c_float * self.vocabulary).from_address(address), dtype=torch.float32)


def _library_errors() -> str:
    """The library's last errors, as the end of a sentence."""
    return f": {'; '.join(c_api.errors)}" if c_api.errors else ""
