"""Which of llama.cpp's pre-tokenizers cuts text as a tokenizer does: found by trying, with llama.cpp itself.

A GGUF file only names how text is cut before bytes are merged, and a wrong name gives other tokens without a word. So
each candidate is written into a small file with the vocabulary and no real weights, llama.cpp loads it, and what it
makes of check texts is compared. Knows llama.cpp's names (github.com/ggml-org/llama.cpp, src/llama-vocab.cpp) and its
library. Knows nothing of models.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError
from camelid_llamacpp import c_api

from .gguf_file import write_file
from .vocabulary import BYTES_IN_TOKENS, Vocabulary

CHECK_TEXTS: Sequence[str] = (
    "The answer is 12 + 345 = 357, isn't it? I'M sure THEY'LL say we've 1,234,567.89 of 'em.",
    "def f(x):\n    return x**2  # twice\n\n\n\tif x!=3:\r\n        pass\n",
    "  two  spaces   three \t tabs\t\there  \n \n\n  end   ",
    "Größe, naïve café, Αθήνα, Привет мир, 中国的首都是北京。日本語のテキスト、한국어 문장.",
    "emoji 😀👍🏽 and signs €£¥ ©®™ … “quotes” ‘single’ — dash; a_b-c/d\\e|f [x]{y}<z>",
    "HTTPServer2Go 3rd 10km v1.2.3-rc4 user@example.org https://example.org/a?b=c&d=1#e",
    "العربية हिन्दी ไทย עברית 1 22 333 4444 ١٢٣",
)
"""Scripts, digits, contractions, white space and signs: what pre-tokenizers differ in."""

_NAMED = {
    "{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*": ("llama-bpe", "glm4", "dbrx"),
    "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*": ("qwen2", "stablelm2"),
    "\\p{Lu}": ("tekken", "gpt-4o"),
    "[^(\\s|": ("bloom", "viking"),
    "Digits": ("smollm",),
}
"""What is written in a pre-tokenizer, and the names to try first then."""
_IGNORE_MERGES = ("llama-bpe", "tekken")
_OTHERS = (
    "gpt-2", "smollm", "qwen2", "llama-bpe", "glm4", "bloom", "tekken", "gpt-4o", "deepseek-llm", "deepseek-coder",
    "deepseek-v3", "falcon", "viking", "qwen35", "superbpe", "bailingmoe", "seed-coder", "chameleon",
)  # fmt: skip


def pre_tokenizer_of(tokenizer: Any, vocabulary: Vocabulary, scratch: Path) -> str:
    """The name of the pre-tokenizer that gives the tokenizer's own ids; `default` for vocabularies that have none.
    `scratch` is a file that is written and removed.

    Raises:
        ModelError: llama.cpp has none that does.
    """
    if vocabulary.kind != BYTES_IN_TOKENS:
        return "default"
    expected = [_ids(tokenizer, text) for text in CHECK_TEXTS]
    for name in _candidates(tokenizer, vocabulary):
        if not different(tokenizer, vocabulary, name, scratch, expected):
            return name
    raise ModelError(
        "llama.cpp has no pre-tokenizer that cuts text as its tokenizer does, so other programs would give it tokens "
        "that it was not trained on."
    )


def different(
    tokenizer: Any, vocabulary: Vocabulary, name: str, scratch: Path, expected: Sequence[Sequence[int]] = ()
) -> list[str]:
    """The check texts that llama.cpp cuts otherwise than the tokenizer, under that pre-tokenizer."""
    expected = expected or [_ids(tokenizer, text) for text in CHECK_TEXTS]
    write_vocabulary(vocabulary, name, scratch)
    try:
        with LoadedVocabulary(scratch) as loaded:
            return [text for text, ids in zip(CHECK_TEXTS, expected, strict=True) if loaded.ids(text) != list(ids)]
    finally:
        scratch.unlink(missing_ok=True)


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _candidates(tokenizer: Any, vocabulary: Vocabulary) -> Iterator[str]:
    written = json.dumps(json.loads(tokenizer.backend_tokenizer.to_str()).get("pre_tokenizer"), ensure_ascii=False)
    written = written.replace("\\\\", "\\")
    named = [name for sign, names in _NAMED.items() if sign in written for name in names]
    for name in dict.fromkeys([*named, *_OTHERS]):
        if (name in _IGNORE_MERGES) == vocabulary.ignores_merges:
            yield name


_WIDTH = 32
_TINY = {
    "llama.context_length": 8, "llama.embedding_length": _WIDTH, "llama.block_count": 1,
    "llama.feed_forward_length": _WIDTH, "llama.attention.head_count": 1, "llama.attention.head_count_kv": 1,
    "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.dimension_count": _WIDTH,
}  # fmt: skip
"""The smallest model that llama.cpp loads, so that it reads the vocabulary."""


def write_vocabulary(vocabulary: Vocabulary, name: str, file: Path) -> None:
    """A file with the vocabulary and the smallest model."""
    import numpy as np

    vector, square = np.zeros(_WIDTH, np.float32), np.zeros((_WIDTH, _WIDTH), np.float32)
    layer: dict[str, Any] = dict.fromkeys(("attn_norm", "ffn_norm"), vector)
    layer |= dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"), square)
    tensors = {f"blk.0.{each}.weight": values for each, values in layer.items()}
    tensors["token_embd.weight"] = np.zeros((len(vocabulary.tokens), _WIDTH), np.float16)
    tensors["output_norm.weight"] = vector
    metadata = {"general.file_type": 1, **_TINY, **vocabulary.metadata(name)}
    write_file(file, "llama", metadata, tensors)


class LoadedVocabulary:
    """llama.cpp's own tokenizer of a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __enter__(self) -> LoadedVocabulary:
        library = c_api.library()
        c_api.errors.clear()
        self._library = library
        self._model = library.llama_model_load_from_file(str(self._file).encode(), library.llama_model_default_params())
        if not self._model:
            raise ModelError(f"llama.cpp does not take its vocabulary: {'; '.join(c_api.errors)}.")
        self._vocabulary = library.llama_model_get_vocab(self._model)
        return self

    def __exit__(self, *error: object) -> None:
        self._library.llama_model_free(self._model)

    def ids(self, text: str) -> list[int]:
        given = text.encode()
        ids = (ctypes.c_int32 * (len(given) + 8))()
        count = self._library.llama_tokenize(self._vocabulary, given, len(given), ids, len(ids), False, False)
        return list(ids[: max(count, 0)])
