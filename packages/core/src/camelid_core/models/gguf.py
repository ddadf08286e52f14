"""GGUF files: llama.cpp's format, a whole model in one file, mostly with quantised weights.

Knows their metadata and the tokenizer in it. Loads no weights: engines made for GGUF files do.
The metadata is read here, not by the package `gguf`: that makes an array object of each of a vocabulary's words, which
takes seconds where naming a model must take none.
"""

from __future__ import annotations

import glob
import mmap
import re
import struct
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError

SUFFIX = ".gguf"
IMATRIX_SUFFIX = "imatrix.gguf"
"""How the names of files end that hold an importance matrix, and no model."""
_FIRST_PART = re.compile(r"-00001-of-(\d{5})\.gguf$")
_LATER_PART = re.compile(r"-(?!00001)\d{5}-of-\d{5}\.gguf$")
_NO_MODELS = {"adapter": "a LoRA adapter", "imatrix": "an importance matrix", "mmproj": "the eyes of a model"}
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MAX_ENTRIES, _MAX_TENSORS, _MAX_ARRAY_LENGTH = 10_000, 200_000, 2_000_000
_MAX_STRINGS, _MAX_BYTES = 3_000_000, 100_000_000
"""Limits that no real file reaches: entries, tensors and length of an array; and strings of all arrays together, and
bytes before the weights. A vocabulary of a million words with its merges is two million texts in some 50 MB."""
_MAX_NAME, _MAX_DIMENSIONS = 65_535, 8


def is_gguf(path: Path) -> bool:
    return path.suffix.lower() == SUFFIX and path.is_file()


def gguf_files(directory: Path) -> list[Path]:
    """The models there; of a model split into several files only the first, and no importance matrix."""
    found = sorted(path for path in directory.iterdir() if is_gguf(path) and not path.name.endswith(IMATRIX_SUFFIX))
    return [path for path in found if not _LATER_PART.search(path.name)]


def gguf_metadata(path: Path) -> dict[str, Any]:
    """A model's metadata by key; of arrays only their length.

    Raises:
        ModelError: unreadable, cut short, no GGUF file, or one without a model.
    """
    found = gguf_values(path)
    if (kind := found.get("general.type")) in _NO_MODELS:
        raise ModelError(f"{str(path)!r} is a GGUF file with {_NO_MODELS[kind]}; it holds no language model.")
    if not isinstance(found.get("general.architecture"), str):
        raise ModelError(f"{str(path)!r} is a GGUF file that names no architecture; it holds no language model.")
    return found


def gguf_values(path: Path) -> dict[str, Any]:
    """The metadata of any GGUF file by key, such as an importance matrix; of arrays only their length.

    Raises:
        ModelError: unreadable, cut short, or no GGUF file.
    """
    try:
        state = path.stat()
        return _values(path, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise ModelError(f"{str(path)!r} cannot be read: {error.strerror}.") from None


def gguf_header(path: Path) -> bytes:
    """All bytes of a file before its weights: metadata, vocabulary, and the table of tensors.

    Raises:
        ModelError: as `gguf_metadata`.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        reader = _MetadataReader(data)
        gguf_metadata(path)
        reader.entries()
        return data[: reader.offset]


def check_gguf(path: Path) -> None:
    """Refuse what `gguf_metadata` refuses, also in the further files of a model that is cut into several: libraries
    give memory to whatever a file claims.

    Raises:
        ModelError: as there.
    """
    gguf_metadata(path)
    pattern, cut = _FIRST_PART.subn(r"-?????-of-\1.gguf", glob.escape(path.name))
    try:
        for part in sorted(path.parent.glob(pattern)) if cut else ():
            _read(part, part.stat().st_size)
    except OSError as error:
        raise ModelError(f"{str(path)!r} cannot be read with all its parts: {error.strerror}.") from None


@lru_cache(maxsize=16)
def _values(path: Path, _modified_ns: int, size: int) -> dict[str, Any]:
    return _read(path, size)


def _read(path: Path, size: int) -> dict[str, Any]:
    if size < 24:
        raise ModelError(f"{str(path)!r} is no GGUF file: it has {size} bytes.")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:4] != b"GGUF":
            raise ModelError(f"{str(path)!r} is no GGUF file: it begins with {data[:4]!r}, not with b'GGUF'.")
        try:
            return _MetadataReader(data).entries()
        except ValueError as error:
            raise ModelError(f"{str(path)!r} is a damaged GGUF file: {error}. Copy it again.") from None


class _MetadataReader:
    """Reads a file's metadata. Every length is checked against a limit before it is read."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._offset = 4
        self._end = min(len(data), _MAX_BYTES)
        self._string_count = 0

    @property
    def offset(self) -> int:
        """The byte that is read next."""
        return self._offset

    def entries(self) -> dict[str, Any]:
        version, tensors, count = self._unpack("IQQ")
        if version not in (2, 3):
            raise ValueError(f"version {version} is unknown; 2 and 3 are read")
        _bounded(count, _MAX_ENTRIES, "entries")
        _bounded(tensors, _MAX_TENSORS, "tensors")
        found = {self._name(): self._value(*self._unpack("I")) for _ in range(count)}
        last = max((self._tensor() for _ in range(tensors)), default=-1)
        if last >= len(self._data) - self._offset:
            raise ValueError(f"it ends at byte {len(self._data):,}, before its last tensor begins")
        return found

    def _tensor(self) -> int:
        """Offset of a tensor from the end of this table."""
        self._name()
        (dimensions,) = self._unpack("I")
        self._skip(8 * _bounded(dimensions, _MAX_DIMENSIONS, "dimensions of one tensor"))
        return int(self._unpack("IQ")[1])

    def _unpack(self, form: str) -> tuple[Any, ...]:
        start = self._skip(struct.calcsize(f"<{form}"))
        return struct.unpack_from(f"<{form}", self._data, start)

    def _skip(self, length: int) -> int:
        """Skip `length` bytes; returns the offset they begin at."""
        start = self._offset
        if length > self._end - start:
            if length <= len(self._data) - start:
                raise ValueError(f"it has more than {_MAX_BYTES:,} bytes before its weights")
            raise ValueError(f"it ends at byte {len(self._data):,}, where {length:,} should follow byte {start:,}")
        self._offset += length
        return start

    def _name(self) -> str:
        start = self._skip(_bounded(self._unpack("Q")[0], _MAX_NAME, "bytes of one name"))
        return self._data[start : self._offset].decode("utf-8", "replace")

    def _string(self) -> str:
        start = self._skip(*self._unpack("Q"))
        return self._data[start : self._offset].decode("utf-8", "replace")

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._length_of_array()
        return self._unpack(_number(kind))[0]

    def _length_of_array(self) -> int:
        kind, count = self._unpack("IQ")
        _bounded(count, _MAX_ARRAY_LENGTH, "values in one list")
        if kind == _STRING:
            self._string_count = _bounded(self._string_count + count, _MAX_STRINGS, "texts in lists")
            self._skip_strings(count)
        elif kind == _ARRAY:
            raise ValueError("it has arrays of arrays")
        else:
            self._skip(count * struct.calcsize(_number(kind)))
        return int(count)

    def _skip_strings(self, count: int) -> None:
        """In few steps each: a vocabulary has hundreds of thousands."""
        at, end, length = self._offset, self._end, struct.Struct("<Q").unpack_from
        for _ in range(count):
            at += 8
            if at <= end:
                at += length(self._data, at - 8)[0]
            if at > end:
                break
        self._skip(at - self._offset)


def _number(kind: int) -> str:
    if kind not in _NUMBERS:
        raise ValueError(f"it has a value of type {kind}, which is none")
    return _NUMBERS[kind]


def _bounded(count: int, most: int, what: str) -> int:
    if count > most:
        raise ValueError(f"it claims {count:,} {what}, and {most:,} are the most that are read")
    return count


def gguf_config(metadata: dict[str, Any]) -> dict[str, Any]:
    """The metadata as keys and values of a `config.json`."""
    kind = metadata["general.architecture"]
    ends = [metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom")]
    values = {
        "model_type": kind,
        "max_position_embeddings": metadata.get(f"{kind}.context_length"),
        "vocab_size": metadata.get("tokenizer.ggml.tokens"),
        "hidden_size": metadata.get(f"{kind}.embedding_length"),
        "num_hidden_layers": metadata.get(f"{kind}.block_count"),
        "intermediate_size": metadata.get(f"{kind}.feed_forward_length"),
        "eos_token_id": [token for token in ends if isinstance(token, int)],
    }
    return {key: value for key, value in values.items() if value is not None}


def gguf_tokenizer(path: Path) -> Any:
    """The tokenizer of a file `tokenizer.json` beside the model, else one made from the model's metadata.

    Raises:
        ModelError: the metadata holds no tokenizer that can be made.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    template = gguf_metadata(path).get("tokenizer.chat_template")
    try:
        if has_tokenizer_file(path):
            tokenizer = AutoTokenizer.from_pretrained(path.parent, local_files_only=True, trust_remote_code=False)
        else:
            tokenizer = PreTrainedTokenizerFast.from_pretrained(
                path.parent, gguf_file=path.name, local_files_only=True
            )  # AutoTokenizer makes the same, but takes ten times as long to find out of which family
            tokenizer.init_kwargs.pop("local_files_only", None)  # else it is saved as the tokenizer's own
            _split_digits(tokenizer, gguf_metadata(path).get("tokenizer.ggml.pre"))
    except Exception as error:  # several libraries read the file, and none says how it fails
        raise ModelError(
            f"{str(path)!r} has no tokenizer that can be made ({_first_line(error)}); "
            "put the model's tokenizer.json and tokenizer_config.json beside it."
        ) from error
    if not tokenizer.chat_template:
        tokenizer.chat_template = template
    return tokenizer


def has_tokenizer_file(path: Path) -> bool:
    return (path.parent / "tokenizer.json").is_file()


_DIGIT_SPLITTING: Sequence[str] = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone")
"""Pre-tokenizers that transformers treats as GPT-2's, but that also split numbers into single digits."""


def _split_digits(tokenizer: Any, split: Any) -> None:
    from tokenizers import pre_tokenizers

    if split in _DIGIT_SPLITTING:
        digits = pre_tokenizers.Digits(individual_digits=True)
        words = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, words])


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
