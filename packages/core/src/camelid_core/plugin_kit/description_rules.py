"""What Camelid relies on in anything that a plugin gives: a name that can be typed, and a sentence about it.

Knows names. Knows nothing of what is named.
"""

from __future__ import annotations

import re
from typing import Any

_TYPEABLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def assert_described(item: Any) -> None:
    """`name` can be typed without quotes, in a recipe, on a command line and in an address; `help` is a sentence."""
    name = getattr(item, "name", None)
    assert isinstance(name, str), f"{item!r}: its name is {name!r}; a name is a text"
    assert_typeable(name, "the name")
    text = getattr(item, "help", None)
    assert isinstance(text, str), f"{name}: help is {text!r}; write one sentence, which listings show"
    assert text.strip(), f"{name}: help is empty; write one sentence, which listings show"
    assert "\n" not in text, f"{name}: help has several lines; listings show one"


def assert_typeable(text: str, what: str) -> None:
    """`text` can be typed without quotes, and be part of a file's name."""
    assert _TYPEABLE.fullmatch(text), (
        f"{what} {text!r} has other characters than letters, digits, '.', '_', '+' and '-'"
    )
