"""Paths of the server in the words of another machine, and back: in configurations, manifests and summaries.

Knows pairs of directories. Knows nothing of what lies there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class PathTranslation:
    """`pairs` are places on the server and here; the longest that fits counts."""

    def __init__(self, pairs: Iterable[tuple[str, Path]]) -> None:
        pairs = list(pairs)
        self._here = _Replacement({there: str(here) for there, here in pairs})
        self._there = _Replacement({str(here): there for there, here in pairs})

    def here(self, value: Any) -> Any:
        """A JSON value of the server with its paths as they are here."""
        return _in_texts(value, self._here)

    def there(self, value: Any) -> Any:
        """A JSON value of this machine with its paths as the server has them."""
        return _in_texts(value, self._there)


class _Replacement:
    def __init__(self, texts: dict[str, str]) -> None:
        self._texts = texts
        longest_first = sorted(filter(None, texts), key=len, reverse=True)
        alternatives = "|".join(map(re.escape, longest_first)) or "(?!)"
        # whole names only: /home/me is not in /home/me2, nor in /srv/home/me
        self._pattern = re.compile(rf"(?<![\w.-])(?:{alternatives})(?![\w-]|\.\w)")

    def __call__(self, text: str) -> str:
        return self._pattern.sub(lambda found: self._texts[found[0]], text)


def _in_texts(value: Any, replace: _Replacement) -> Any:
    if isinstance(value, str):
        return replace(value)
    if isinstance(value, dict):
        return {key: _in_texts(each, replace) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_in_texts(each, replace) for each in value]
    return value
