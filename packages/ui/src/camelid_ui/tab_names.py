"""Names of the built-in tabs, in the order of work. Knows no page."""

from __future__ import annotations

BUILT_IN_TABS = ("data", "train", "chat", "predict", "merge", "jobs", "plugins")
