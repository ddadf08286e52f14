"""The token cache as HTML. Knows its entries by name and size."""

from __future__ import annotations

import time
from collections.abc import Sequence

from camelid_core.token_cache import CacheEntry

from camelid_ui.i18n import Translator
from camelid_ui.views import ListingRow, cell, listing, note
from camelid_ui.views.numbers import count, duration, size


def line(entries: Sequence[CacheEntry], say: Translator) -> str:
    """The size of the cache, in one line."""
    if not entries:
        return note(say("cache.empty"))
    return note(say("cache.line", size=size(sum(entry.bytes for entry in entries))))


def table(entries: Sequence[CacheEntry], say: Translator) -> str:
    if not entries:
        return note(say("cache.empty"))
    heads = [
        say("data.name"),
        say("data.template"),
        say("cache.tokenizer"),
        say("data.rows"),
        say("cache.size"),
        say("cache.used"),
    ]
    lines = [
        ListingRow(
            [
                cell(", ".join(entry.sources) or "–", "main"),
                cell(entry.template, "quiet"),
                cell(entry.tokenizer, "quiet"),
                cell(count(entry.rows), "number"),
                cell(size(entry.bytes), "number"),
                cell(say("jobs.ago", age=duration(max(0.0, time.time() - entry.used))), "quiet"),
            ]
        )
        for entry in entries
    ]
    return listing(heads, lines, say("cache.caption"))
