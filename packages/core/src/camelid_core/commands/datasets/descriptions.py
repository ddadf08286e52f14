"""A dataset as a row of the listing, as a JSON object, and as a few lines to read.

Knows the fields of a listing. Knows nothing of commands.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

from camelid_core.datasets.dataset import Dataset
from camelid_core.licences import in_words, non_commercial
from camelid_core.records import Record

LANGUAGE_TAGS = {"en": "EN", "zh": "CN", "mul": "ML"}
"""The tags of instruction collections for ISO 639 codes."""
TAG_MEANINGS = {
    "MT": "multi-task",
    "TS": "task-specific",
    "HG": "human generated",
    "SI": "self-instruct",
    "MIX": "human and machine",
    "COL": "collection of other sets",
}
_COLUMNS = 80


def languages(dataset: Dataset) -> str:
    """`EN/CN`, as collections write it."""
    return "/".join(LANGUAGE_TAGS.get(code, code) for code in dataset.languages)


def matches(value: str, wanted: str) -> bool:
    """Whether one part of a compound value equals the filter, by tag or by code; an empty filter matches all."""
    tag = LANGUAGE_TAGS.get(wanted.lower(), wanted)
    return not wanted or tag.lower() in value.lower().split("/")


def dataset_json(dataset: Dataset) -> dict[str, Any]:
    """All fields, for programs. `nums` is null where the collection gives no number."""
    return {
        "dataset": dataset.name,
        "title": dataset.title or dataset.name,
        "nums": dataset.rows or None,
        "lang": languages(dataset),
        "task": dataset.task,
        "gen": dataset.generation,
        "type": dataset.kind or ("" if dataset.collection else dataset.help),
        "src": dataset.made_by,
        "url": dataset.url,
        "upstream": dataset.source,
        "later_nums": dataset.later_rows or None,
        "collection": dataset.collection,
        "licence": dataset.licence,
        "non_commercial": non_commercial(dataset.licence),
        "generator": list(dataset.generator),
        "languages": list(dataset.languages),
        "rows": dataset.rows,
        "heldout_rows": dataset.heldout_rows,
        "tags": list(dataset.tags),
        "aliases": list(dataset.aliases),
        "help": dataset.help,
        "missing": dataset.missing(),
        "citation": dataset.citation,
    }


def listing_row(dataset: Dataset) -> dict[str, Any]:
    """The columns that fit on a terminal; the last one is shortened to its width."""
    row = {
        "dataset": dataset.name,
        "nums": dataset.rows or "–",
        "lang": languages(dataset),
        "task": dataset.task,
        "gen": dataset.generation,
        "here": "" if dataset.missing() else "yes",
        "type": dataset.kind or dataset.help,
    }
    if sys.stdout.isatty():
        room = shutil.get_terminal_size((_COLUMNS, 24)).columns - 61
        row["type"] = textwrap.shorten(str(row["type"]), max(room, 12), placeholder="…")
    return row


def record_json(record: Record) -> dict[str, Any]:
    """A record as JSON."""
    if record.is_text:
        return {"id": record.id, "text": record.messages[0].content, "tags": list(record.tags)}
    messages = [
        {"role": m.role, "content": m.content}
        | ({"context": m.context} if m.context else {})
        | ({} if m.trained else {"train": False})
        for m in record.messages
    ]
    return {"id": record.id, "messages": messages, "tags": list(record.tags), **record.feedback}


def dataset_summary(dataset: Dataset) -> Iterator[str]:
    """A heading, then a line for each fact that is not empty."""
    title = f" ({dataset.title})" if dataset.title and dataset.title != dataset.name else ""
    yield f"{dataset.name}{title}: {_size(dataset)}"
    facts = {
        "what": dataset.kind or dataset.help,
        "tags": ", ".join(_tagged(dataset)),
        "made by": dataset.made_by,
        "licence": in_words(dataset.licence),
        "generator": ", ".join(dataset.generator),
        "from": dataset.source,
        "see": dataset.url if dataset.url != dataset.source else "",
        "answers to": ", ".join(dataset.aliases),
        **dataset.facts(),
        "missing": dataset.missing(),
    }
    for word, text in facts.items():
        if text:
            yield from _wrapped(word, text)
    if dataset.citation:
        yield textwrap.indent(dataset.citation, "  ")


def _size(dataset: Dataset) -> str:
    rows = f"{dataset.rows:,} rows" if dataset.rows else "rows not counted"
    heldout = f" and {dataset.heldout_rows:,} held out" if dataset.heldout_rows else ""
    later = f" ({dataset.later_rows:,} by a later count)" if dataset.later_rows else ""
    return f"{rows}{heldout}{later}"


def _tagged(dataset: Dataset) -> Iterator[str]:
    yield from (code for code in (languages(dataset),) if code)
    for text in (dataset.task, dataset.generation):
        yield from (f"{tag} {TAG_MEANINGS.get(tag, '')}".strip() for tag in text.split("/") if tag)
    yield from dataset.tags


def _wrapped(word: str, text: str) -> Iterator[str]:
    width = max(shutil.get_terminal_size((_COLUMNS, 24)).columns, 40)
    indent = " " * 14
    for line in text.splitlines():
        yield textwrap.fill(
            line,
            width,
            initial_indent=f"  {word:<12}",
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        word = ""
