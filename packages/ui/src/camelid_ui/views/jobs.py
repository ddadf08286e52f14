"""Jobs and runs: progress, states, tables. Knows job views; calls no service."""

from __future__ import annotations

from collections.abc import Sequence

from camelid_core.jobs import Job

from camelid_ui.i18n import Translator
from camelid_ui.services.jobs import JobView

from . import Cell, ListingRow, cell, esc, facts, listing, state
from .numbers import count, duration


def word(view: JobView, say: Translator) -> str:
    """The state in words."""
    if view.running and view.job.request:
        return say(f"requested.{view.job.request}")
    return say(f"state.{view.job.state}")


def badge(view: JobView, say: Translator) -> str:
    return state(str(view.job.state), word(view, say))


def bar(view: JobView, say: Translator, more: Sequence[tuple[str, object]] = ()) -> str:
    """The progress of a job: a bar, beside it the numbers, and `more` of them."""
    numbers = facts(
        [
            (
                say("progress.done"),
                f"{count(view.done)} / {count(view.total)} {unit(view.unit, say)}" if view.total else "",
            ),
            (say("progress.elapsed"), duration(view.seconds) if view.job.started else ""),
            (say("progress.eta"), duration(view.eta) if view.running and view.eta is not None else ""),
            (say("progress.rate"), f"{count(view.rate)} {say('progress.tokens_per_second')}" if view.rate else ""),
            *more,
        ]
    )
    percent = f"{view.share * 100:.0f}"
    drawn = (
        f'<div class="camelid-bar {esc(view.job.state)}" role="progressbar" aria-valuenow="{percent}" '
        f'aria-valuemin="0" aria-valuemax="100" aria-label="{esc(say("progress.label"))}">'
        f'<span style="width:{percent}%"></span></div>'
    )
    return drawn + numbers


def table(views: Sequence[JobView], say: Translator, chosen: str = "") -> str:
    heads = [say(f"jobs.{head}") for head in ("name", "state", "what", "progress", "eta", "age")]
    lines = [
        ListingRow(
            [
                Cell(esc(f"{view.job.id} · {view.job.label}"), "main"),
                Cell(badge(view, say)),
                cell(task(view.job, say)),
                Cell(meter(view, say), "number"),
                cell(duration(view.eta) if view.running else "", "number"),
                cell(say("jobs.ago", age=duration(view.age)), "number quiet"),
            ],
            key=str(view.job.id),
            href=f"/?tab=jobs&job={view.job.id}",
            chosen=str(view.job.id) == chosen,
        )
        for view in views
    ]
    return listing(heads, lines, say("jobs.caption"))


def job_link(job: Job) -> str:
    """The job's number and name; selecting it opens the job."""
    return f'<a href="/?tab=jobs&amp;job={job.id}" data-key="{job.id}">{esc(job.id)} · {esc(job.label)}</a>'


def task(job: Job, say: Translator) -> str:
    """What the job does, in words."""
    return say.optional(f"task.{job.task}", job.task)


def meter(view: JobView, say: Translator) -> str:
    """Progress in a line: a small bar and the numbers; nothing where none was reported."""
    if not view.total:
        return ""
    percent = f"{view.share * 100:.0f}"
    values = (
        f'aria-valuenow="{percent}" aria-valuemin="0" aria-valuemax="100" aria-label="{esc(say("progress.label"))}"'
    )
    return (
        f'<span class="camelid-meter"><span class="camelid-mini" role="progressbar" {values}>'
        f'<span style="width:{percent}%"></span></span>{count(view.done)} / {count(view.total)}</span>'
    )


def unit(name: str, say: Translator) -> str:
    return say.optional(f"unit.{name}", name)
