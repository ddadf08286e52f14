"""JSON as its standard has it: no key twice in an object, no NaN or infinity.

Knows one text at a time. Knows nothing of files or of what the values mean.
`json.loads` keeps the last of two equal keys in silence.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any


def loads(text: str) -> Any:
    """The value in `text`. Raises ValueError (JSONDecodeError among them) or RecursionError."""
    return DECODER.decode(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        times = Counter(key for key, _ in pairs)
        raise ValueError(f"key {times.most_common(1)[0][0]!r} stands twice")
    return row


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
