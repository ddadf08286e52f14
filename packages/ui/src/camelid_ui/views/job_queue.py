"""The queue as it goes: what runs, what waits in which order, what has ended; and what ended while nobody looked.

Knows job views. Calls no service.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from camelid_core.jobs import JobState
from camelid_core.machines.machine import machine_of

from camelid_ui.i18n import Translator
from camelid_ui.services.jobs import JobListing, JobView, ListingPart

from . import Cell, ListingRow, cell, esc, listing, note
from .jobs import badge, job_link, meter, task
from .numbers import duration

_SHOWN_ENDS = 8
_HEADS = ("name", "state", "what")


def queue(jobs: JobListing, say: Translator, chosen: str, can_move: bool, now: float) -> str:
    """Three tables; those that are empty are left out. `now` is the server's clock, for the page's script. Where jobs
    of several users are listed, each says whose it is."""
    users = {view.job.user for part in (jobs.running, jobs.waiting, jobs.ended) for view in part.views}
    rows, order = _Rows(say, chosen, can_move, len(users) > 1), ("order",) if can_move else ()
    parts = (
        _section("running", ("progress", "eta", "worker"), jobs.running, rows.running, say),
        _section("waiting", ("waits", "age", *order), jobs.waiting, rows.waiting, say),
        _section("ended", ("outcome", "took", "when"), jobs.ended, rows.ended, say),
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


def _section(
    name: str, heads: Sequence[str], part: ListingPart, row: Callable[[JobView], ListingRow], say: Translator
) -> str:
    if not part.views:
        return ""
    title, left = say(f"jobs.{name}"), part.total - len(part.views)
    table = listing([say(f"jobs.{head}") for head in (*_HEADS, *heads)], [row(view) for view in part.views], title)
    rest = note(say("jobs.rest", count=left)) if left else ""
    head = f'<h3 class="camelid-subhead">{esc(title)} <small>{part.total}</small></h3>'
    return f'{head}<div class="{name}">{table}</div>{rest}'


@dataclass(frozen=True, slots=True)
class _Rows:
    """How jobs of each kind are shown in a row."""

    say: Translator
    chosen: str
    can_move: bool
    several_users: bool

    def running(self, view: JobView) -> ListingRow:
        return self._row(
            view,
            Cell(meter(view, self.say), "number"),
            cell(duration(view.eta), "number told"),
            cell(machine_of(view.job.owner) or view.job.owner.partition(":")[0], "quiet"),
        )

    def waiting(self, view: JobView) -> ListingRow:
        return self._row(
            view,
            cell(view.waits or self.say("jobs.for_worker"), "quiet"),
            cell(duration(view.age), "number quiet told"),
            *([Cell(self._moves(view), "order")] if self.can_move else []),
        )

    def ended(self, view: JobView) -> ListingRow:
        outcome = view.job.published.rpartition("/")[2] or _first_line(view.job.error)
        when = max(0.0, view.age - (view.job.ended or 0.0) + view.job.created)
        return self._row(
            view,
            Cell(f'<span class="clip">{esc(outcome)}</span>', "quiet"),
            cell(duration(view.seconds) if view.job.started else "", "number told"),
            cell(self.say("jobs.ago", age=duration(when)), "number quiet"),
        )

    def _row(self, view: JobView, *cells: Cell) -> ListingRow:
        job, number = view.job, str(view.job.id)
        user = f' <small class="quiet">{esc(job.user)}</small>' if self.several_users and job.user else ""
        first = (
            Cell(esc(f"{number} · {job.label}") + user, "main"),
            Cell(badge(view, self.say)),
            cell(task(job, self.say)),
        )
        link = f"/?tab=jobs&job={number}"
        return ListingRow([*first, *cells], key=number, href=link, chosen=number == self.chosen)

    def _moves(self, view: JobView) -> str:
        name = f"{view.job.id} · {view.job.label}"
        buttons = "".join(
            f'<button type="button" data-set="{way}:{view.job.id}" value="{way}" '
            f'aria-label="{esc(self.say(f"jobs.{way}_label", name=name))}" '
            f'title="{esc(self.say(f"jobs.{way}"))}">{arrow}</button>'
            for way, arrow in (("up", "↑"), ("down", "↓"))
        )
        return f'<span class="camelid-moves">{buttons}</span>'


def _first_line(text: str) -> str:
    return text.partition("\n")[0]
