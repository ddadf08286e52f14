"""The Data page's pieces as HTML. Knows entries, records and lengths."""

from __future__ import annotations

from collections.abc import Sequence

from camelid_core.records import Record

from camelid_ui.services.data import Entry, Lengths
from camelid_ui.text import Voice

from . import Cell, Line, cell, empty, esc, facts, listing
from .charts import histogram
from .numbers import count


def collection(entries: Sequence[Entry], chosen: str, say: Voice) -> str:
    if not entries:
        return empty(say("data.none"), say("data.none_hint"))
    heads = [say("data.name"), say("data.rows")]
    lines = [
        Line(
            [Cell(_named(entry), "main"), cell(count(entry.rows), "number quiet")],
            key=entry.name,
            href=f"/?tab=data&data={entry.name}",
            chosen=entry.name == chosen,
        )
        for entry in entries
    ]
    return listing(heads, lines, say("data.caption"))


def _named(entry: Entry) -> str:
    chips = "".join(f'<span class="camelid-chip">{esc(tag)}</span>' for tag in (*entry.languages, *entry.tags))
    return f"{esc(entry.name)}<br>{chips}"


def heading(entry: Entry, say: Voice) -> str:
    about = facts(
        [
            (say("data.rows"), count(entry.rows)),
            (say("data.heldout"), count(entry.heldout) if entry.heldout else say("data.cut")),
            (say("data.licence"), entry.licence),
            (say("data.origin"), entry.origin),
        ]
    )
    return (
        f'<h2 class="camelid-title">{esc(entry.name)}</h2>'
        f'<p class="camelid-lead">{esc(entry.help)}</p><div style="height:12px"></div>{about}'
    )


def rows(records: Sequence[Record], start: int, chosen: int, say: Voice) -> str:
    heads = [say("data.row"), say("data.question"), say("data.answer")]
    lines = [
        Line(
            [
                cell(start + index + 1, "number quiet"),
                Cell(f'<span class="clip">{esc(_question(record))}</span>'),
                Cell(f'<span class="clip">{esc(record.answer)}</span>'),
            ],
            key=str(start + index),
            chosen=start + index == chosen,
        )
        for index, record in enumerate(records)
    ]
    return listing(heads, lines, say("data.rows_caption"))


def lengths(measured: Lengths, cutoff: int, say: Voice) -> str:
    label = say("data.lengths", rows=len(measured.tokens), over=measured.over(cutoff), cutoff=cutoff)
    return histogram(measured.bins(), cutoff, label, say("progress.tokens"))


def _question(record: Record) -> str:
    return next((message.text for message in reversed(record.messages) if message.role == "user"), "")
