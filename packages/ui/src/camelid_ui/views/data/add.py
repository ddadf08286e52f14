"""Adding a file as HTML: its detected format and why, its first records, its malformed rows.

Knows detections and previews.
"""

from __future__ import annotations

from pathlib import Path

from camelid_core.readers import Detection, Faults
from camelid_core.records import Record

from camelid_ui.i18n import Translator
from camelid_ui.services.data.add import FilePreview, ImportedDataset
from camelid_ui.views import Cell, ListingRow, cell, error, esc, facts, listing, note
from camelid_ui.views.conversation import bubbles
from camelid_ui.views.numbers import count, size

SHOWN_ROWS = 3


def detected(path: Path, found: Detection, say: Translator) -> str:
    """The detected format, and why; the raw first rows where no format fits."""
    pairs = [(say("add.file"), path.name), (say("add.size"), size(path.stat().st_size))]
    kind = say.optional(f"reader.{found.reader}", found.reader or say("add.unknown"))
    head = f'<p class="camelid-found{"" if found.fits else " unsure"}"><b>{esc(kind)}</b> {esc(found.reason)}</p>'
    return facts(pairs) + head + _raw(found, say)


def _raw(found: Detection, say: Translator) -> str:
    """The file's own columns and first values."""
    if not found.columns:
        return ""
    lines = [
        ListingRow([cell(name, "main"), Cell(f'<span class="clip quiet">{esc(_values(found, name))}</span>')])
        for name in found.columns[:24]
    ]
    table = listing([say("add.column"), say("add.values")], lines, say("add.columns"))
    label = say("add.columns_found", count=len(found.columns))
    return (
        f'<details class="camelid-part"{"" if found.fits else " open"}><summary>{esc(label)}</summary>{table}</details>'
    )


def _values(found: Detection, name: str) -> str:
    return " · ".join(str(row.get(name, ""))[:80] for row in found.sample[:SHOWN_ROWS])


def preview(shown: FilePreview, strict: bool, say: Translator) -> str:
    """The first records as conversations, above them the malformed rows."""
    rows = count(shown.faults.total)
    head = say("add.faults_strict" if strict else "add.faults", rows=rows)
    found = error(shown.error) if shown.error else faults(shown.faults, head, strict, say)
    notes = "".join(note(sentence) for sentence in shown.faults.sentences())
    return found + notes + "".join(_sample(index, record, say) for index, record in enumerate(shown.records, 1))


def _sample(index: int, record: Record, say: Translator) -> str:
    head = f"<h4>{esc(say('add.row', row=index))}</h4>"
    return f'<section class="camelid-sample">{head}{bubbles(record.messages, say)}</section>'


def faults(found: Faults, head: str, bad: bool, say: Translator) -> str:
    """Counts and the first examples, each naming file, line and column as its reader does."""
    if not found.total:
        return ""
    kinds = [f"{say.optional(f'fault.{kind}', kind)}: {count(rows)}" for kind, rows in found.counts.most_common(6)]
    examples = "".join(f"<li>{esc(example)}</li>" for example in found.examples[:8])
    return (
        f'<div class="{"camelid-error" if bad else "camelid-warn"}" role="alert"><p><b>{esc(head)}</b> '
        f'{esc("; ".join(kinds))}</p><ul class="faults">{examples}</ul></div>'
    )


def added(done: ImportedDataset, say: Translator) -> str:
    """The result: rows that were added, and rows that were skipped and why."""
    left_out = count(done.faults.total)
    key = "data.added_some" if done.faults.total else "data.added"
    head = say(key, name=done.entry.name, rows=count(done.entry.rows), faults=left_out)
    notes = "".join(note(sentence) for sentence in done.faults.sentences())
    wrong = faults(done.faults, say("add.faults_all", rows=left_out), False, say)
    return f'<p class="camelid-good" role="status">{esc(head)}</p>{notes}{wrong}'
