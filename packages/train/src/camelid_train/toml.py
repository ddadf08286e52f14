"""A recipe written as TOML. Knows sections of plain values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any


def to_toml(values: Mapping[str, Mapping[str, Any]], comments: Iterable[str] = ()) -> str:
    """Sections of scalars and lists; values that are None are left out."""
    printable = ("".join(sign if sign.isprintable() else " " for sign in comment) for comment in comments)
    lines = [f"# {comment}".rstrip() for comment in printable]
    for section, fields in values.items():
        lines += [*([""] if lines else []), f"[{section}]"]
        lines += [f"{name} = {_value(value)}" for name, value in fields.items() if value is not None]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, float):
        text = f"{value:.6g}"
        return text if float(text) == value else repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
