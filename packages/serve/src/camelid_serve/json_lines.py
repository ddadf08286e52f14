"""One object → one line of JSON Lines, whatever a table's cells or a file's texts are.

Knows what JSON cannot express: times and decimals become text, NaN and infinity null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def to_json_line(value: Mapping[str, Any]) -> bytes:
    """UTF-8 with a line end. Characters are escaped only where a lone surrogate makes that necessary."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        text = json.dumps(_jsonable(value), ensure_ascii=False)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(json.loads(text)).encode() + b"\n"


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _jsonable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return value if isinstance(value, str | int | bool | None) else str(value)
