"""The chosen dataset as HTML: its facts, what to fetch, and its rows. Knows entries and records."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from camelid_core.licences import non_commercial
from camelid_core.records import Record

from camelid_ui.i18n import Translator
from camelid_ui.services.data.dataset_entries import DatasetEntry
from camelid_ui.views import Cell, ListingRow, cell, code, esc, listing
from camelid_ui.views.numbers import count

from .collection import link, worded


def _licence(entry: DatasetEntry, say: Translator) -> str:
    no_commercial_use = non_commercial(entry.licence) is True
    return f"{entry.licence} ({say('data.non_commercial')})" if no_commercial_use else entry.licence


def heading(entry: DatasetEntry, say: Translator, more: Mapping[str, str] | None = None) -> str:
    """Name, what it is for, and its most important facts; `more` are those that a plugin gives."""
    pairs = [
        (say("data.rows"), esc(count(entry.rows)) if entry.rows else esc(say("data.unknown"))),
        (say("data.heldout"), esc(count(entry.heldout) if entry.heldout else say("data.cut"))),
        *((say(f"data.{name}"), esc(_words(entry, name, say))) for name in ("language", "task", "generation")),
        (say("data.kind"), esc(entry.kind) if entry.kind not in entry.help else ""),
        (say("data.made_by"), esc(entry.made_by)),
        (say("data.licence"), esc(_licence(entry, say))),
        (say("data.generator"), esc(", ".join(entry.generator))),
        (say("data.origin"), _origin(entry)),
        (say("data.parent"), _parent(entry)),
        *(
            (say.optional(f"fact.{name}", name.replace("_", " ").capitalize()), esc(value))
            for name, value in (more or {}).items()
        ),
    ]
    facts = "".join(f"<div><dt>{esc(label)}</dt><dd>{value}</dd></div>" for label, value in pairs if value)
    return (
        f'<h2 class="camelid-title">{esc(entry.name)}</h2><p class="camelid-lead">{esc(entry.help)}</p>'
        f'<dl class="camelid-facts about">{facts}</dl>{_citation(entry, say)}'
    )


def _words(entry: DatasetEntry, facet: str, say: Translator) -> str:
    return ", ".join(worded(facet, value, say) for value in entry.facet(facet))


def _origin(entry: DatasetEntry) -> str:
    if not entry.url.startswith(("https://", "http://")):
        return esc(entry.origin or entry.url)
    return f'<a href="{esc(entry.url)}" target="_blank" rel="noreferrer noopener">{esc(entry.origin or entry.url)}</a>'


def _parent(entry: DatasetEntry) -> str:
    if not entry.parent:
        return ""
    step = f" <small>{esc(entry.step)}</small>" if entry.step else ""
    name = esc(entry.parent)
    return f'<a href="{link(entry.parent)}" data-key="{name}">{name}</a>{step}'


def _citation(entry: DatasetEntry, say: Translator) -> str:
    if not entry.citation:
        return ""
    return (
        f'<details class="camelid-part"><summary>{esc(say("data.citation"))}</summary>'
        f'<pre class="camelid-log">{esc(entry.citation)}</pre></details>'
    )


def missing(entry: DatasetEntry, say: Translator) -> str:
    """What to fetch and where to put it, each command with a button that copies it."""
    if not entry.missing:
        return ""
    sentences, commands = _commands(entry.missing)
    lines = "".join(f"<p>{esc(line)}</p>" for line in sentences)
    boxes = "".join(code(command, say("data.fetch_command"), say("copy")) for command in commands)
    return f'<div class="camelid-warn" role="status"><p><b>{esc(say("data.fetch"))}</b></p>{lines}</div>{boxes}'


def _commands(text: str) -> tuple[list[str], list[str]]:
    """Lines of prose, and what stands in backticks or on a line that begins like a command."""
    commands = re.findall(r"`([^`]+)`", text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    typed = [line for line in lines if re.match(r"(hf|camelid|huggingface-cli|git|curl|wget|export) ", line)]
    return [line.replace("`", "") for line in lines if line not in typed], commands + typed


def rows(records: Sequence[Record], start: int, chosen: int, say: Translator) -> str:
    heads = [say("data.row"), say("data.question"), say("data.answer")]
    lines = [
        ListingRow(
            [
                cell(count(start + index + 1), "number quiet"),
                *_columns(record, say),
            ],
            key=str(start + index),
            chosen=start + index == chosen,
        )
        for index, record in enumerate(records)
    ]
    return listing(heads, lines, say("data.rows_caption"))


def _columns(record: Record, say: Translator) -> list[Cell]:
    """Question and answer; a text stands where answers do: it is what is learnt."""
    if record.is_text:
        texts = [f'<i class="quiet">{esc(say("role.text"))}</i>', esc(record.messages[0].content[:400])]
    else:
        texts = [esc(_question(record)[:400]), esc(record.answer[:400])]
    return [Cell(f'<span class="clip">{text}</span>') for text in texts]


def _question(record: Record) -> str:
    return next((message.text for message in reversed(record.messages) if message.role == "user"), "")
