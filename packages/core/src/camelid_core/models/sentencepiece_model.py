"""SentencePiece models (`tokenizer.model`): pieces, scores and settings, read without SentencePiece's own library.

A file is one protocol buffer message, of which a few fields are needed. Knows bytes. Knows nothing of tokenizers.
Formats: protobuf.dev/programming-guides/encoding; src/sentencepiece_model.proto in github.com/google/sentencepiece.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError

_MOST_BYTES = 100_000_000
"""Of a file: models with a quarter of a million pieces have some 6 MB."""
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_LONGEST_VARINT = 10
_UNIGRAM, _BPE = 1, 2


class PieceType(IntEnum):
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, slots=True)
class Piece:
    text: str
    score: float
    type: PieceType


@dataclass(frozen=True, slots=True)
class SentencePieceModel:
    """`pieces` by id. `bpe` tells byte-pair encoding from a unigram model."""

    pieces: tuple[Piece, ...]
    bpe: bool
    byte_fallback: bool
    unk_id: int
    charsmap: bytes
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool


def read_sentencepiece(path: Path) -> SentencePieceModel:
    """Raises ModelError: unreadable, no SentencePiece model, or one of a kind that is neither BPE nor unigram."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ModelError(f"{str(path)!r} is larger than any SentencePiece model.")
        return _model(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{str(path)!r} cannot be read: {error.strerror}.") from None
    except (ValueError, LookupError, struct.error, TypeError, AttributeError, StopIteration) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{str(path)!r} is no SentencePiece model, or a damaged one. Copy it again.") from None


def _model(data: bytes) -> SentencePieceModel:
    pieces, trainer, normalizer = [], {}, {}
    for field, value in _fields(data):
        if field == 1:
            pieces.append(_piece(bytes(value)))
        elif field == 2:
            trainer = dict(_fields(value))
        elif field == 3:
            normalizer = dict(_fields(value))
    kind = trainer.get(3, _UNIGRAM)
    if not pieces or kind not in (_UNIGRAM, _BPE):
        raise ModelError(
            f"a SentencePiece model of {len(pieces)} pieces and kind {kind!r} is not read; BPE (2) and unigram (1) are."
        )
    return SentencePieceModel(
        pieces=tuple(pieces),
        bpe=kind == _BPE,
        byte_fallback=bool(trainer.get(35, 0)),
        unk_id=next(number for number, piece in enumerate(pieces) if piece.type == PieceType.UNKNOWN),
        charsmap=bytes(normalizer.get(2, b"")),
        add_dummy_prefix=bool(normalizer.get(3, 1)),
        remove_extra_whitespaces=bool(normalizer.get(4, 1)),
    )


def _piece(data: bytes) -> Piece:
    fields = dict(_fields(data))
    score = struct.unpack("<f", fields.get(2, bytes(4)))[0]
    return Piece(fields[1].decode(), score, PieceType(fields.get(3, 1)))


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a message: an integer for a varint, bytes for everything else."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if wire == _BYTES:
            length, at = _varint(data, at)
        else:
            length = {_FIXED_64: 8, _FIXED_32: 4}[wire]
        if at + length > len(data):
            raise ValueError("a field is longer than its message")
        yield key >> 3, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The value that begins at a byte, and where the next one begins."""
    value = 0
    for number in range(_LONGEST_VARINT):
        byte = data[at + number]
        value |= (byte & 0x7F) << 7 * number
        if byte < 0x80:
            return value, at + number + 1
    raise ValueError("a number has too many bytes")
