"""The checks every text of a row passes, and how a value is quoted in an error message.

Knows single values. Knows nothing of rows, files or formats.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .row_faults import RowFault

MAX_FIELD = 1_000_000
"""Characters that one text may have; a longer one is mostly a damaged file."""
_NAMES = 20
_NAME = 60


def text(value: Any, name: str = "") -> str:
    """`value` if it is a text that a tokenizer takes. `name` is that of its column.

    Raises:
        RowFault: no text, too long, or a NUL or half a surrogate pair in it.
    """
    if (
        isinstance(value, str)
        and len(value) <= MAX_FIELD
        and "\0" not in value
        and (value.isascii() or _encodes(value))
    ):
        return value
    place = f", {name!r}" if name else ""
    if not isinstance(value, str):
        raise RowFault("no_text", f"expected text, not {excerpt(value)}.", place)
    if len(value) > MAX_FIELD:
        raise RowFault("too_long", f"{len(value):,} characters; at most {MAX_FIELD:,} are taken.", place)
    raise RowFault("bad_character", "the text holds a NUL or half a surrogate pair, which no tokenizer takes.", place)


def is_absent(value: Any) -> bool:
    """Whether a cell holds nothing: null, and NaN, which tables write for it."""
    return value is None or (isinstance(value, float) and value != value)


def is_empty(value: Any) -> bool:
    """Whether a cell holds nothing that could be lost: absent, or a text or list without anything in it."""
    return is_absent(value) or (isinstance(value, str | list | dict) and not value)


def _encodes(value: str) -> bool:
    """Surrogates are all that UTF-8 refuses; encoding finds them at the speed of C."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def listed(names: Iterable[Any], quoted: bool = True) -> str:
    """Names of columns for a message: the first of them, the long ones cut, and how many more there are."""
    texts = list(map(str, names))
    shown = [excerpt(text) if quoted or len(text) > _NAME else text for text in texts[:_NAMES]]
    return ", ".join(shown) + (f" and {len(texts) - _NAMES:,} more" if len(texts) > _NAMES else "")


def excerpt(value: Any, at: int = 0) -> str:
    """The 60 characters of `value` from `at` on, quoted for a message."""
    shown = value[at : at + _NAME + 1] if isinstance(value, str) else repr(value)[: _NAME + 1]
    return repr(shown[:_NAME] + ("…" if len(shown) > _NAME else ""))
