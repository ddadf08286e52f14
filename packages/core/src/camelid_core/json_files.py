"""JSON files that may be absent or damaged. Knows files; what must be there is read elsewhere, strictly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def object_in(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no such file, or none that holds an object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
