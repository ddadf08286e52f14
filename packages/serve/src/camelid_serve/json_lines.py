"""One object → one line of JSON, whatever a table's cells or a file's texts are.

Knows what JSON has no word for: times and decimals become their text, what is no number null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def line_of(value: Mapping[str, Any]) -> bytes:
    """With its end. Letters stand as they are, save where half a character makes that impossible."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        text = json.dumps(_plain(value), ensure_ascii=False)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(json.loads(text)).encode() + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return value if isinstance(value, str | int | bool | None) else str(value)
