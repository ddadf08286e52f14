"""The Batch predict page's pieces as HTML. Knows previews and answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from camelid_core.statistics import Difference, Estimate
from camelid_serve.predict.inputs import ANSWER_COLUMNS

from camelid_ui.i18n import Translator
from camelid_ui.services.models import TokenView
from camelid_ui.services.prediction_table import PredictionPage, answers_of, expected_of, scores_of
from camelid_ui.services.predictions import InputPreview

from . import Cell, ListingRow, cell, empty, error, esc, listing, note
from .conversation import tokens


def preview(found: InputPreview, say: Translator) -> str:
    if found.problem:
        return error(found.problem) + note(say("predict.map_them"))
    rows = note(say("predict.rows", rows=found.rows))
    scored = note(say("predict.referenced", rows=found.referenced)) if found.referenced else ""
    faulty = error(say("predict.faulty", faulty=found.faulty)) if found.faulty else ""
    prompts = "".join(
        f'<p class="camelid-note" style="margin-top:12px">{esc(say("predict.row", number=number))}</p>'
        f"{_prompt(prompt, say)}"
        for number, prompt in enumerate(found.prompts, 1)
    )
    notes = "".join(map(note, found.notes))
    return rows + scored + faulty + notes + prompts


def _prompt(prompt: TokenView | str, say: Translator) -> str:
    return error(prompt) if isinstance(prompt, str) else tokens(prompt, say, legend=False)


def summary(found: PredictionPage, job: int, say: Translator) -> str:
    """The predictions so far: a download link, and the mean scores."""
    if not found.count:
        return ""
    key = "predict.all" if found.finished else "predict.so_far"
    link = (
        f'<a class="camelid-download" href="/download/predictions/{job}" download>{esc(say("predict.download"))}</a>'
        f'<span class="camelid-note">{esc(say(key, rows=found.count, failed=found.failed))}</span>'
    )
    means = "".join(note(_means(model, means)) for model, means in found.means.items())
    baseline = next(iter(found.means), "")
    for model, differences in found.differences.items():
        means += note(_means(say("predict.minus", model=model, baseline=baseline), differences))
    return f'<div class="camelid-runhead">{link}</div>{means}'


def answers(found: PredictionPage, say: Translator) -> str:
    """The rows of one page."""
    if not found.count:
        return ""
    if not found.rows:
        return empty(say("predict.none_such"))
    scored = bool(found.means)
    heads = [say("data.row"), say("data.question"), say("data.answer")]
    heads += [say("predict.expected"), say("predict.scores")] if scored else []
    lines = [ListingRow(_cells(number, row, found, scored)) for number, row in found.rows]
    return listing(heads, lines, say("predict.caption"))


def _cells(number: int, row: dict[str, Any], found: PredictionPage, scored: bool) -> list[Cell]:
    cells = [cell(number, "number quiet"), Cell(_clip(_question(row, found))), Cell(_answers(row, found))]
    if scored:
        scores = "".join(
            f"<div>{esc(_scores(model, each))}</div>" for model, each in scores_of(row, found.columns).items()
        )
        cells += [Cell(_clip(expected_of(row, found.reference, found.columns))), Cell(scores, "quiet")]
    return cells


def _answers(row: dict[str, Any], found: PredictionPage) -> str:
    """By model where there are several."""
    answers_html = []
    for model, text, failed in answers_of(row, found.columns):
        name = f'<span class="camelid-note">{esc(model)}</span>' if model else ""
        answers_html.append(
            name
            + (
                f'<span class="camelid-state failed" style="white-space: normal">{esc(text)}</span>'
                if failed
                else _clip(text)
            )
        )
    return "".join(f"<div>{each}</div>" for each in answers_html)


def _means(model: str, means: Mapping[str, Estimate] | Mapping[str, Difference]) -> str:
    """Each with its interval and n: without them two models cannot be told apart."""
    words = " · ".join(f"{name} {value}" for name, value in means.items())
    return f"{model}: {words}" if model else words


def _scores(model: str, scores: Mapping[str, float]) -> str:
    words = " · ".join(f"{name} {value:.2f}" for name, value in scores.items())
    return f"{model}: {words}" if model else words


def _clip(text: str) -> str:
    return f'<span class="clip">{esc(text)}</span>'


def _question(row: dict[str, Any], found: PredictionPage) -> str:
    asks = next((name for name in (found.question, *ANSWER_COLUMNS) if name in row), "")
    if asks:
        return "\n".join(filter(None, [str(row[asks]), str(row.get("input") or "")]))
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
    shown = [f"{name}: {value}" for name, value in row.items() if name not in found.columns.values()]
    return "\n".join(shown[:3])
