"""The queue as it goes: what runs, what waits in which order, what has ended; and what ended while nobody looked.

Knows job views. Calls no service.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from camelid_core.jobs import JobState
from camelid_core.machines.machine import machine_of

from camelid_ui.i18n import Translator
from camelid_ui.services.jobs import JobListing, JobView

from . import Cell, ListingRow, cell, esc, listing, note
from .jobs import badge, job_link, meter, task
from .numbers import duration

_SHOWN_ENDS = 8


def queue(jobs: JobListing, say: Translator, chosen: str, can_move: bool, now: float) -> str:
    """Three tables; those that are empty are left out. `now` is the server's clock, for the page's script."""
    heads = {
        "running": ("name", "state", "what", "progress", "eta", "worker"),
        "waiting": ("name", "state", "what", "waits", "age", "order"),
        "ended": ("name", "state", "what", "outcome", "took", "when"),
    }
    parts = (
        _section(part, heads[part], [row(view, say, chosen) for view in found.views], found.total, say)
        for part, found, row in (
            ("running", jobs.running, _running),
            ("waiting", jobs.waiting, _waiting if can_move else _waiting_still),
            ("ended", jobs.ended, _ended),
        )
    )
    return f'<div data-now="{now:.3f}">{"".join(parts)}</div>'


def while_away(views: Sequence[JobView], say: Translator, since: str) -> str:
    """What ended since the last visit: how many of each, then those that failed, then the others."""
    if not views:
        return ""
    counts: dict[str, int] = {}
    for view in views:
        counts[str(view.job.state)] = counts.get(str(view.job.state), 0) + 1
    words = ", ".join(f"{number} {say(f'state.{state}').lower()}" for state, number in counts.items())
    items = "".join(
        f'<li class="{view.job.state}">{job_link(view.job)} {badge(view, say)}'
        f"{f'<small>{esc(_first_line(view.job.error))}</small>' if view.job.state == JobState.FAILED else ''}</li>"
        for view in views[:_SHOWN_ENDS]
    )
    more = f"<li>{esc(say('jobs.more', count=len(views) - _SHOWN_ENDS))}</li>" if len(views) > _SHOWN_ENDS else ""
    return (
        f'<section class="camelid-away" aria-label="{esc(say("jobs.away"))}"><div class="head">'
        f"<b>{esc(say('jobs.away'))}</b><span>{esc(words)}</span>"
        f"<small>{esc(say('jobs.away_since', age=since))}</small>"
        f'<button type="button" data-away-seen>{esc(say("jobs.seen"))}</button></div><ul>{items}{more}</ul></section>'
    )


def _section(part: str, heads: Iterable[str], rows: list[ListingRow], total: int, say: Translator) -> str:
    if not rows:
        return ""
    title = say(f"jobs.{part}")
    rest = note(say("jobs.rest", count=total - len(rows))) if total > len(rows) else ""
    table = listing([say(f"jobs.{head}") for head in heads], rows, title)
    return (
        f'<h3 class="camelid-subhead">{esc(title)} <small>{total}</small></h3><div class="{part}">{table}</div>{rest}'
    )


def _row(view: JobView, say: Translator, chosen: str, *cells: Cell) -> ListingRow:
    first = (
        Cell(esc(f"{view.job.id} · {view.job.label}"), "main"),
        Cell(badge(view, say)),
        cell(task(view.job, say)),
    )
    number = str(view.job.id)
    return ListingRow([*first, *cells], key=number, href=f"/?tab=jobs&job={number}", chosen=number == chosen)


def _running(view: JobView, say: Translator, chosen: str) -> ListingRow:
    return _row(
        view, say, chosen,
        Cell(meter(view, say), "number"),
        cell(duration(view.eta), "number told"),
        cell(machine_of(view.job.owner) or view.job.owner.partition(":")[0], "quiet"),
    )  # fmt: skip


def _waiting_still(view: JobView, say: Translator, chosen: str, order: str = "") -> ListingRow:
    return _row(
        view, say, chosen,
        cell(view.waits or say("jobs.for_worker"), "quiet"),
        cell(duration(view.age), "number quiet told"),
        Cell(order, "order"),
    )  # fmt: skip


def _waiting(view: JobView, say: Translator, chosen: str) -> ListingRow:
    buttons = "".join(
        f'<button type="button" data-set="{way}:{view.job.id}" value="{way}" '
        f'aria-label="{esc(say(f"jobs.{way}_label", name=f"{view.job.id} · {view.job.label}"))}" '
        f'title="{esc(say(f"jobs.{way}"))}">{arrow}</button>'
        for way, arrow in (("up", "↑"), ("down", "↓"))
    )
    return _waiting_still(view, say, chosen, f'<span class="camelid-moves">{buttons}</span>')


def _ended(view: JobView, say: Translator, chosen: str) -> ListingRow:
    outcome = view.job.published.rpartition("/")[2] or _first_line(view.job.error)
    when = max(0.0, view.age - (view.job.ended or 0.0) + view.job.created)
    return _row(
        view, say, chosen,
        Cell(f'<span class="clip">{esc(outcome)}</span>', "quiet"),
        cell(duration(view.seconds) if view.job.started else "", "number told"),
        cell(say("jobs.ago", age=duration(when)), "number quiet"),
    )  # fmt: skip


def _first_line(text: str) -> str:
    return text.partition("\n")[0]
