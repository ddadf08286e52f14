"""Pure functions from what services say to HTML. They know looks; they know no state and no gradio.

Everything that did not come from us passes through `esc`.
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
    """A sentence about what is wrong; nothing where nothing is."""
    if not message:
        return ""
    lines = "<br>".join(esc(line) for line in message.splitlines() if line.strip())
    return f'<div class="camelid-error" role="alert">{lines}{action}</div>'


def empty(message: str, hint: str = "") -> str:
    """What to say where there is nothing yet, and what to do next."""
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
    """A line to copy; the page's script does the copying."""
    return (
        f'<div class="camelid-code"><code aria-label="{esc(label)}" tabindex="0">{esc(text)}</code>'
        f'<button type="button" class="camelid-copy" data-copy="{esc(text)}">{esc(copy)}</button></div>'
    )


@dataclass(frozen=True, slots=True)
class Cell:
    """`html` is ours; `kind` is a class: `number`, `quiet`, `wide`, `main`."""

    html: str
    kind: str = ""


def cell(value: object, kind: str = "") -> Cell:
    return Cell(esc(value), kind)


@dataclass(frozen=True, slots=True)
class ListingRow:
    """A row of a listing; `key` is what selecting it says, `href` where it leads without a script."""

    cells: Sequence[Cell]
    key: str = ""
    href: str = ""
    chosen: bool = False


def listing(heads: Sequence[str], lines: Sequence[ListingRow], caption: str) -> str:
    """A table that becomes cards on a narrow page; rows with a key can be chosen by click and by keyboard."""
    head = "".join(f'<th scope="col">{esc(text)}</th>' for text in heads)
    body = "".join(_line(heads, line) for line in lines)
    return (
        f'<table class="camelid-list"><caption>{esc(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _line(heads: Sequence[str], line: ListingRow) -> str:
    cells = []
    for index, (head, item) in enumerate(zip(heads, line.cells, strict=True)):
        inner = item.html
        if line.key and index == 0:
            inner = f'<a href="{esc(line.href or "#")}" data-key="{esc(line.key)}">{inner}</a>'
        cells.append(f'<td class="{item.kind}" data-head="{esc(head)}">{inner}</td>')
    chosen = ' class="chosen" aria-current="true"' if line.chosen else ""
    key = f' data-key="{esc(line.key)}"' if line.key else ""
    return f"<tr{chosen}{key}>{''.join(cells)}</tr>"
