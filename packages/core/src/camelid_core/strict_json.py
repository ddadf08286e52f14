"""JSON as its standard has it: no key twice in an object, no NaN or infinity.

Knows one text at a time. Knows nothing of files or of what the values mean.
`json.loads` keeps the last of two equal keys in silence.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

_DIGITS = 4300
"""Of a whole number, at most; Python itself takes no more, for the time it would need."""


def loads(text: str) -> Any:
    """The value in `text`. Raises ValueError (JSONDecodeError among them) or RecursionError."""
    return DECODER.decode(text)


def decoder(report: Callable[[str], Any]) -> json.JSONDecoder:
    """A decoder that tells `report` what a lax one would take; if that returns, decoding goes on."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(pairs)
        if len(row) < len(pairs):
            times = Counter(key for key, _ in pairs)
            report(f"key {times.most_common(1)[0][0]!r} stands twice")
        return row

    def constant(name: str) -> None:
        report(f"{name} is no JSON value")

    def integer(digits: str) -> int:
        if len(digits) > _DIGITS:
            report(f"Exceeds the limit of {_DIGITS:,} digits for a number: {len(digits):,}")
            return 0
        return int(digits)

    def real(digits: str) -> float:
        value = float(digits)
        if math.isinf(value):
            report(f"{digits[:20]} is too large for a number")
        return value

    return json.JSONDecoder(object_pairs_hook=unique, parse_constant=constant, parse_int=integer, parse_float=real)


def _refuse(complaint: str) -> None:
    raise ValueError(complaint)


DECODER = decoder(_refuse)
