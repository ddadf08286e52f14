"""What all tests share: how Hypothesis looks for examples, and which files come first.

`make test` tries the same ones each time, so that a change is judged by what it changed; everywhere
else it looks for new ones.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

LONG = ("model", "install", "browser")
"""Marks of files that take minutes; they come first, so that no worker is left with one of them at the end."""

settings.register_profile("camelid", deadline=None, derandomize="CAMELID_SAME_EXAMPLES" in os.environ)
settings.load_profile("camelid")


@pytest.hookimpl(trylast=True)  # when every directory has marked its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    long = {item.path for item in items if any(item.get_closest_marker(mark) for mark in LONG)}
    items.sort(key=lambda item: item.path not in long)
