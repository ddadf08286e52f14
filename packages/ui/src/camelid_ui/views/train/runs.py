"""The table of runs, and the comparison of runs. Knows runs and comparisons."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from camelid_core.statistics import number_text

from camelid_ui.i18n import Translator
from camelid_ui.services.training import RunComparison, RunDetails, RunSummary
from camelid_ui.views import Cell, ListingRow, cell, error, esc, listing, note
from camelid_ui.views.jobs import badge
from camelid_ui.views.numbers import count, duration, loss
from camelid_ui.views.plot import Curve, plot


def runs(found: Sequence[RunSummary], say: Translator, opened: str = "", picked: Collection[str] = ()) -> str:
    names = ("name", "state", "model", "data", "method", "loss", "best", "steps", "took", "when", "compare")
    lines = [
        ListingRow(
            [
                Cell(esc(f"{run.job.id} · {run.job.label}"), "main"),
                Cell(badge(run.view, say)),
                cell(run.model),
                cell(run.data),
                cell(run.method),
                cell(loss(run.loss_summary.loss), "number"),
                cell(loss(run.loss_summary.best), "number"),
                cell(_steps(run), "number"),
                cell(duration(run.view.seconds) if run.job.started else "", "number"),
                cell(say("jobs.ago", age=duration(run.view.age)), "number quiet"),
                Cell(_pick(str(run.job.id), picked, say), "number"),
            ],
            key=str(run.job.id),
            href=f"/?tab=train&run={run.job.id}",
            chosen=str(run.job.id) == opened,
        )
        for run in found
    ]
    return listing([say(f"runs.{name}") for name in names], lines, say("runs.caption"))


def _pick(number: str, picked: Collection[str], say: Translator) -> str:
    checked = " checked" if number in picked else ""
    label = esc(say("runs.pick", number=number))
    box = f'<input type="checkbox" data-set="pick" value="{number}" aria-label="{label}"{checked}>'
    return f'<label class="camelid-pick">{box}</label>'


def _steps(run: RunSummary) -> str:
    if not run.view.total or run.view.unit != "steps":
        return ""
    return (
        f"{count(run.view.done)} / {count(run.view.total)}" if run.view.done != run.view.total else count(run.view.done)
    )


def compared(found: RunComparison, say: Translator) -> str:
    """Curves of all in one chart each, then results, then the settings in which they differ."""
    missing = "".join(error(say("compare.missing", number=number)) for number in found.missing)
    if len(found.runs) < 2:
        return missing + note(say("compare.more"))
    names = [f"{run.job.id} · {run.job.label}" for run in found.runs]
    step = say("unit.step")
    trained = [Curve(name, run.report.curves.smoothed, f"c{at}") for at, (name, run) in enumerate(_named(names, found))]
    held = [
        Curve(name, run.report.curves.heldout_loss, f"c{at}") for at, (name, run) in enumerate(_named(names, found))
    ]
    charts = plot(say("compare.trained"), trained, step) + plot(say("compare.held"), held, step)
    heads = [say("compare.setting"), *names]
    lines = [*_results(found, say), *_settings(found, say)]
    same = "" if found.settings else note(say("compare.same"))
    return (
        f'{missing}<div class="camelid-plots two">{charts}</div>{listing(heads, lines, say("compare.caption"))}{same}'
    )


def _named(names: Sequence[str], found: RunComparison) -> Iterator[tuple[str, RunDetails]]:
    return zip(names, found.runs, strict=True)


def _results(found: RunComparison, say: Translator) -> Iterator[ListingRow]:
    runs = found.runs
    measured = [esc(number_text(run.job.summary.get("eval_loss_estimate")) or "") for run in runs]
    rows = (
        ("runs.state", [badge(run.view, say) for run in runs]),
        ("runs.loss", [text or loss(run.loss_summary.loss) for text, run in zip(measured, runs, strict=True)]),
        ("compare.difference", ["" if each is None else esc(str(each)) for each in found.losses]),
        ("runs.best", [loss(run.loss_summary.best) for run in runs]),
        ("runs.steps", [_steps(run) for run in runs]),
        ("runs.took", [duration(run.view.seconds) if run.job.started else "" for run in runs]),
        (
            "progress.rate",
            [f"{count(run.view.rate)} {say('progress.tokens_per_second')}" if run.view.rate else "" for run in runs],
        ),
    )
    for key, cells in rows:
        if any(cells):
            yield ListingRow([cell(say(key), "main"), *(Cell(text or "–") for text in cells)])


def _settings(found: RunComparison, say: Translator) -> Iterator[ListingRow]:
    for path, values in found.settings.items():
        yield ListingRow([Cell(f"<code>{esc(path)}</code>", "main"), *(cell(_value(value)) for value in values)])


def _value(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return "–"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
