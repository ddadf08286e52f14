"""Long evaluation texts, and the sliding windows over them.

Knows files, rows and tokenizers. Knows nothing of models.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from camelid_core.artefacts import DatasetUse
from camelid_core.errors import DataError
from camelid_core.paths import validated_path
from camelid_core.readers.file_formats import FileRows, has_data_suffix
from camelid_core.readers.plain_text import SUFFIX as TEXT_SUFFIX
from camelid_core.readers.row_faults import Faults
from camelid_core.tokenization.plain_text import plain_encoders

from . import synthetic_text

_BYTES = 8_000_000
"""Bytes read of one text at most: some two million tokens, longer than any context here."""


@dataclass(frozen=True, slots=True)
class WindowEnd:
    """A window ends before token `end` of text number `text`: its last tokens are predicted, the others are context."""

    text: int
    end: int


def long_texts(file: str, longest: int, tokens: int, seed: int) -> tuple[list[str], DatasetUse]:
    """The texts of a file, or one made for `tokens` tokens beyond the first `longest` where there is no file.

    Raises:
        DataError: no such file, no text in it, or a row without one.
    """
    if file:
        path = validated_path(file, "file")
        texts = list(_rows(path) if has_data_suffix(path) and path.suffix.lower() != TEXT_SUFFIX else _plain(path))
        name, licence = path.name, "unknown"
    else:
        texts = [synthetic_text.synthetic_day_book(6 * (longest + tokens), seed)]
        name, licence = synthetic_text.NAME, "cc0-1.0"
    if not any(text.strip() for text in texts):
        raise DataError(f"{file!r} holds no text.")
    digest = hashlib.sha256()
    for text in texts:
        digest.update(hashlib.sha256(text.encode()).digest())
    return texts, DatasetUse(id=name, rows=len(texts), sha256=digest.hexdigest(), licence=licence)


def _plain(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            start = file.read(_BYTES)
        yield codecs.getincrementaldecoder("utf-8-sig")().decode(start, final=len(start) < _BYTES)
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is not UTF-8 at byte {error.start:,}; save it as UTF-8.") from None


def _rows(path: Path) -> Iterator[str]:
    rows = FileRows(path, Faults())
    for _, row in rows:
        text = row.get("text")
        if not isinstance(text, str):
            raise DataError(f'{rows.where()}: no `text`; long texts are rows like {{"text": …}}, or a plain text file.')
        yield text[:_BYTES]


def tokenize(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text, without control tokens: a text that spells one gives its letters."""
    encoder = plain_encoders(tokenizer.backend_tokenizer)[0]
    return [encoding.ids for encoding in encoder.encode_batch_fast(texts, add_special_tokens=False)]


def bos_ids(tokenizer: Any) -> list[int]:
    """The beginning-of-sequence token, if this tokenizer puts it before every text."""
    ids = tokenizer("").input_ids
    return ids[:1] if ids and ids[0] == tokenizer.bos_token_id else []


def window_ends(texts: Sequence[Sequence[int]], longest: int, stride: int, count: int) -> list[WindowEnd]:
    """At most `count` ends of windows of `longest` tokens, spread evenly over all texts; no token is predicted twice.

    Raises:
        DataError: no text is as long as that.
    """
    per_text = [max(0, (len(ids) - longest) // stride + 1) for ids in texts]
    total = sum(per_text)
    if not total:
        most = max(map(len, texts), default=0)
        raise DataError(
            f"no text is {longest:,} tokens long, the longest has {most:,}; take lengths up to that, or longer texts."
        )
    chosen = [index * total // min(count, total) for index in range(min(count, total))]
    starts = list(accumulate(per_text, initial=0))
    found = []
    for index in chosen:
        text = next(number for number, end in enumerate(starts[1:]) if index < end)
        found.append(WindowEnd(text, longest + (index - starts[text]) * stride))
    return found


def window(texts: Sequence[Sequence[int]], end: WindowEnd, length: int, bos: Sequence[int] = ()) -> list[int]:
    """The window of `length` tokens that ends there; `bos` are the first of them."""
    start = end.end - length + len(bos)
    return [*bos, *texts[end.text][start : end.end]]
