"""Pure functions from what services return to HTML. They know markup; they know no state and no gradio.

All text from outside is escaped by `esc`.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from camelid_ui.i18n import Translator

from .numbers import count, duration, size


def esc(value: object) -> str:
    return html.escape(str(value), quote=True)


def error(message: str, action: str = "") -> str:
    """An error message; nothing for an empty one."""
    if not message:
        return ""
    lines = "<br>".join(esc(line) for line in message.splitlines() if line.strip())
    return f'<div class="camelid-error" role="alert">{lines}{action}</div>'


def empty(message: str, hint: str = "") -> str:
    """The text of an empty list or panel, and a hint what to do next."""
    return f'<div class="camelid-empty"><p>{esc(message)}</p>{f"<p>{esc(hint)}</p>" if hint else ""}</div>'


def note(text: str) -> str:
    return f'<p class="camelid-note">{esc(text)}</p>' if text else ""


def facts(pairs: Iterable[tuple[str, object]], wide: bool = False) -> str:
    """Label and value, side by side or below one another."""
    items = "".join(f"<div><dt>{esc(label)}</dt><dd>{esc(value)}</dd></div>" for label, value in pairs if str(value))
    return f'<dl class="camelid-facts{" wide" if wide else ""}">{items}</dl>' if items else ""


def progress(done: int, total: int, eta: float | None, say: Translator, of: str = "") -> str:
    """Rows so far as a bar and in words, or bytes of a file; without a total only in words."""
    number = size if of else count
    words = say("progress.of" if total else "progress.rows", done=number(done), total=number(total))
    if of:
        words = f"{of}: {number(done)} / {number(total)}"
    left = f" · {say('progress.eta')} {duration(eta)}" if eta is not None else ""
    bar = (
        f'<div class="camelid-bar"><span style="width:{100 * min(1.0, done / total):.1f}%"></span></div>'
        if total
        else ""
    )
    return f'<div class="camelid-working" role="status"><p class="camelid-note">{esc(words)}{esc(left)}</p>{bar}</div>'


def state(name: str, word: str) -> str:
    return f'<span class="camelid-state {esc(name)}">{esc(word)}</span>'


def code(text: str, label: str, copy: str = "Copy") -> str:
    """A command or path with a copy button; the page's script copies it."""
    return (
        f'<div class="camelid-code"><code aria-label="{esc(label)}" tabindex="0">{esc(text)}</code>'
        f'<button type="button" class="camelid-copy" data-copy="{esc(text)}">{esc(copy)}</button></div>'
    )


@dataclass(frozen=True, slots=True)
class Cell:
    """`html` is escaped already; `kind` is a CSS class: `number`, `quiet`, `wide`, `main`."""

    html: str
    kind: str = ""


def cell(value: object, kind: str = "") -> Cell:
    return Cell(esc(value), kind)


@dataclass(frozen=True, slots=True)
class ListingRow:
    """A row of a listing; `key` is the value that selecting it gives, `href` its link without a script."""

    cells: Sequence[Cell]
    key: str = ""
    href: str = ""
    chosen: bool = False


def listing(heads: Sequence[str], rows: Sequence[ListingRow], caption: str) -> str:
    """A table that becomes cards on a narrow page; rows with a key can be selected by click and by keyboard."""
    head = "".join(f'<th scope="col">{esc(text)}</th>' for text in heads)
    body = "".join(_row_html(heads, row) for row in rows)
    return (
        f'<table class="camelid-list"><caption>{esc(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _row_html(heads: Sequence[str], row: ListingRow) -> str:
    cells = []
    for index, (head, item) in enumerate(zip(heads, row.cells, strict=True)):
        inner = item.html
        if row.key and index == 0:
            inner = f'<a href="{esc(row.href or "#")}" data-key="{esc(row.key)}">{inner}</a>'
        cells.append(f'<td class="{item.kind}" data-head="{esc(head)}">{inner}</td>')
    chosen = ' class="chosen" aria-current="true"' if row.chosen else ""
    key = f' data-key="{esc(row.key)}"' if row.key else ""
    return f"<tr{chosen}{key}>{''.join(cells)}</tr>"
