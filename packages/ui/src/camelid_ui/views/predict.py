"""The Batch predict page's pieces as HTML. Knows previews and answers."""

from __future__ import annotations

from typing import Any

from camelid_ui.services.models import TokenView
from camelid_ui.services.predictions import Answers, Preview
from camelid_ui.text import Voice

from . import Cell, Line, cell, error, esc, listing, note
from .conversation import tokens

_ROWS = 100


def preview(found: Preview, say: Voice) -> str:
    rows = note(say("predict.rows", rows=found.rows))
    faulty = error(say("predict.faulty", faulty=found.faulty)) if found.faulty else ""
    prompts = "".join(
        f'<p class="camelid-note" style="margin-top:12px">{esc(say("predict.row", number=number))}</p>'
        f"{_prompt(prompt, say)}"
        for number, prompt in enumerate(found.prompts, 1)
    )
    return rows + faulty + prompts


def _prompt(prompt: TokenView | str, say: Voice) -> str:
    return error(prompt) if isinstance(prompt, str) else tokens(prompt, say, legend=False)


def answers(found: Answers, job: int, say: Voice) -> str:
    """The newest rows first while they come; the whole file is one click away."""
    if not found.rows:
        return ""
    key = "predict.all" if found.finished else "predict.so_far"
    link = (
        f'<a class="camelid-download" href="/download/predictions/{job}" download>{esc(say("predict.download"))}</a>'
        f'<span class="camelid-note">{esc(say(key, rows=len(found.rows), failed=found.failed))}</span>'
    )
    heads = [say("data.row"), say("data.question"), say("data.answer")]
    shown = list(enumerate(found.rows, 1))[:_ROWS]
    lines = [
        Line([cell(number, "number quiet"), Cell(_clip(_question(row))), Cell(_answer(row))]) for number, row in shown
    ]
    return f'<div class="camelid-runhead">{link}</div>' + listing(heads, lines, say("predict.caption"))


def _answer(row: dict[str, Any]) -> str:
    if "error" in row:
        return f'<span class="camelid-state failed">{esc(row["error"])}</span>'
    return _clip(str(row.get("generate", "")))


def _clip(text: str) -> str:
    return f'<span class="clip">{esc(text)}</span>'


def _question(row: dict[str, Any]) -> str:
    if "instruction" in row:
        return "\n".join(filter(None, [str(row["instruction"]), str(row.get("input") or "")]))
    turns = row.get("messages")
    if isinstance(turns, list):
        return next(
            (
                str(turn.get("content", ""))
                for turn in reversed(turns)
                if isinstance(turn, dict) and turn.get("role") == "user"
            ),
            "",
        )
    return str(row.get("line", ""))
