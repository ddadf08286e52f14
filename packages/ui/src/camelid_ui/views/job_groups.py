"""Pipelines as rows of steps with arrows, sweeps as tables with their losses. Knows groups; calls no service."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from camelid_ui.i18n import Translator
from camelid_ui.services.job_groups import GroupStep, JobGroup

from . import Cell, ListingRow, cell, esc, listing
from .jobs import badge, meter, task
from .numbers import loss


def groups(found: Sequence[JobGroup], say: Translator, chosen: str) -> str:
    """Those that are under way are open."""
    return "".join(_group(group, say, chosen, index == 0) for index, group in enumerate(found))


def _group(group: JobGroup, say: Translator, chosen: str, first: bool) -> str:
    opened = " open" if group.running or first else ""
    kind = say("jobs.sweep" if group.is_sweep else "jobs.pipeline")
    shown = _sweep(group, say, chosen) if group.is_sweep else _pipeline(group, say, chosen)
    done = sum(step.view.job.state == "succeeded" for step in group.steps)
    words = say("jobs.steps_done", done=done, total=len(group.steps))
    return (
        f'<details class="camelid-group" data-part="{esc(group.name)}"{opened}><summary><b>{esc(group.name)}</b> '
        f"<small>{esc(kind)} · {esc(words)}</small></summary>{shown}</details>"
    )


def _pipeline(group: JobGroup, say: Translator, chosen: str) -> str:
    columns = groupby(group.steps, key=lambda step: step.depth)
    items, before = "", frozenset[str]()
    for _, grouped in columns:
        steps = tuple(grouped)
        items += f"<li>{''.join(_step(step, say, chosen, before) for step in steps)}</li>"
        before = frozenset(step.name for step in steps)
    return f'<ol class="camelid-steps">{items}</ol>'


def _step(step: GroupStep, say: Translator, chosen: str, before: frozenset[str]) -> str:
    """`before` are the steps of the column to its left: where it needs just these, the arrow says so."""
    number = step.view.job.id
    current = ' aria-current="true"' if str(number) == chosen else ""
    after = f"<small>{esc(say('jobs.after', names=', '.join(step.needs)))}</small>" if set(step.needs) != before else ""
    progress = meter(step.view, say) if step.view.running and step.view.total else ""
    return (
        f'<a class="step {esc(step.view.job.state)}" href="/?tab=jobs&amp;job={number}" data-key="{number}"{current}>'
        f"<b>{esc(step.name)}</b><small>{esc(number)} · {esc(task(step.view.job, say))}</small>"
        f"{badge(step.view, say)}{progress}{after}</a>"
    )


def _sweep(group: JobGroup, say: Translator, chosen: str) -> str:
    """The lowest loss first; runs without one last."""
    settings = list(group.steps[0].settings)
    heads = [say("jobs.name"), *(path.rpartition(".")[2] for path in settings), say("jobs.state"), say("jobs.loss")]
    order = sorted(group.steps, key=lambda step: (step.loss is None, step.loss or 0.0))
    rows = [_run(step, settings, group.best, say, chosen) for step in order]
    return listing(heads, rows, group.name) + f'<p class="camelid-note">{esc(say("jobs.sweep_note"))}</p>'


def _run(step: GroupStep, settings: Iterable[str], best: float | None, say: Translator, chosen: str) -> ListingRow:
    number = str(step.view.job.id)
    progress = meter(step.view, say) if step.view.running and step.view.total else ""
    mark = (
        f' <span class="camelid-chip">{esc(say("jobs.lowest"))}</span>'
        if step.loss is not None and step.loss == best
        else ""
    )
    return ListingRow(
        [
            Cell(esc(f"{number} · {step.name}"), "main"),
            *(cell(step.settings.get(path, "")) for path in settings),
            Cell(badge(step.view, say) + (f" {progress}" if progress else "")),
            Cell(esc(loss(step.loss)) + mark, "number"),
        ],
        key=number,
        href=f"/?tab=jobs&job={number}",
        chosen=number == chosen,
    )
