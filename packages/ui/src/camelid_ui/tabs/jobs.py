"""The Jobs page: what ended meanwhile, one opened job, pipelines and sweeps, the queue, and who works.

Knows its components. What they show is `services.jobs`, `services.groups` and `services.machines`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError
from camelid_core.jobs.search import JobFilter

from camelid_ui.i18n import Translator, t, translator_for
from camelid_ui.services import Services
from camelid_ui.services.jobs import FILTERS, JobView
from camelid_ui.views import empty
from camelid_ui.views.job import JobDetails, details, live_log
from camelid_ui.views.job_groups import groups
from camelid_ui.views.job_queue import queue, while_away
from camelid_ui.views.machines import machines
from camelid_ui.views.numbers import duration

from . import EACH, LATEST, PRIVATE
from .components import (
    KEEP_OPEN,
    SELECTED_KEY,
    address,
    changed_field,
    controls,
    error_message,
    hidden_box,
    panel,
    selectable,
)
from .job import JobPanel, build_job

_EVENTS = 40
_BUSY_SECONDS, _IDLE_SECONDS = 3.0, 15.0
"""How often the page looks: while jobs run, and while none does, for one may be queued elsewhere."""
_PLACES = {"up": -1, "down": 1}
_SINCE = "(...values) => [...values.slice(0, -1), camelid.jobs.since()]"
"""The times of this browser's last visit and of this one, which it keeps itself."""


@dataclass(frozen=True)
class JobsTab:
    panel: JobPanel
    log: gr.HTML
    away: gr.HTML
    groups: gr.HTML
    find: gr.Textbox
    state: gr.Dropdown
    task: gr.Dropdown
    notice: gr.HTML
    list: gr.HTML
    machines: gr.HTML
    since: gr.Textbox
    timer: gr.Timer

    @property
    def filters(self) -> list[Any]:
        return [self.find, self.state, self.task]


def build(services: Services) -> JobsTab:
    job, since = address("job"), hidden_box("jobs-since")
    away = selectable(elem_id="jobs-away")
    shown = build_job(job, "job", selectable(script=KEEP_OPEN, elem_id="job-body", render=False))
    with shown.column:
        log = panel(elem_id="job-log")
    groups_shown = selectable(script=KEEP_OPEN, elem_id="jobs-groups")
    with gr.Row(elem_classes="camelid-section-row"):
        panel(t("jobs.title"), elem_classes="camelid-heading")
        with gr.Row(elem_classes="camelid-filters"):
            find = gr.Textbox(label=t("runs.find"), elem_id="jobs-find", elem_classes="camelid-inline", min_width=0)
            states: list[Any] = [(t("runs.all"), ""), *((t(f"state.{name}"), name) for name in FILTERS)]
            state = _dropdown(t("jobs.state"), "jobs-state", states)
            task = _dropdown(t("jobs.what"), "jobs-task", [(t("runs.all"), "")])
    with gr.Row(elem_classes="camelid-actions camelid-notify"):
        tell = gr.Button(t("jobs.notify"), elem_id="jobs-notify", size="sm")
        panel(t("jobs.notify_off"), elem_id="jobs-notify-why", elem_classes="camelid-note camelid-hidden")
    notice = panel(elem_id="jobs-notice")
    entries = controls(elem_id="jobs-list")
    working = selectable(elem_id="jobs-machines")
    tell.click(None, None, None, js="() => { camelid.jobs.notify(); }", api_visibility="private")
    timer = gr.Timer(_BUSY_SECONDS, active=False)
    tab = JobsTab(shown, log, away, groups_shown, find, state, task, notice, entries, working, since, timer)
    _wire(tab, services)
    return tab


def task_choices(services: Services, say: Translator) -> list[tuple[str, str]]:
    """All, and the tasks of which there are jobs."""
    return [(say("runs.all"), ""), *((say.optional(f"task.{name}", name), name) for name in services.jobs.tasks())]


def _dropdown(label: Any, ident: str, choices: list[Any]) -> gr.Dropdown:
    return gr.Dropdown(choices, value="", label=label, elem_id=ident, elem_classes="camelid-inline", min_width=0)


def _wire(tab: JobsTab, services: Services) -> None:
    job = tab.panel.job

    def listed(chosen: str, find: str, state: str, task: str, since: str, request: gr.Request) -> tuple[Any, ...]:
        say = translator_for(request)
        wanted = JobFilter(FILTERS.get(state or "", ()), task or "", find or "")
        shown = services.jobs.queue(wanted)
        can_move = services.profile.allow_changes
        working = services.machines.all() if can_move else []
        going = bool(shown.running.total or shown.waiting.total)
        return (
            _away(services, say, since),
            groups(services.groups.all(), say, chosen) if wanted == JobFilter() else "",
            queue(shown, say, chosen, can_move, time.time()) if shown.total else _none(wanted, say),
            machines(working, say) if working else "",
            gr.Timer(_BUSY_SECONDS if going else _IDLE_SECONDS, active=True),
        )

    def moved(event: gr.EventData) -> str:
        way, _, number = changed_field(event)[0].partition(":")
        try:
            services.jobs.move(int(number), _PLACES[way])
        except (CamelidError, ValueError, KeyError) as problem:
            return error_message(problem)
        return ""

    def opened_log(number: str, request: gr.Request) -> str:
        return live_log(number, translator_for(request))

    inputs = [job, *tab.filters, tab.since]
    outputs = [tab.away, tab.groups, tab.list, tab.machines, tab.timer]
    changes = [job.change, tab.panel.state_changed.change, tab.find.change, tab.state.change, tab.task.change]
    gr.on([*changes, tab.timer.tick], listed, inputs, outputs, js=_SINCE, **LATEST)
    tab.list.input(moved, None, tab.notice, **EACH).then(listed, inputs, outputs, js=_SINCE, **LATEST)
    for each in (tab.list, tab.away, tab.groups, tab.machines, tab.panel.body):
        each.select(None, None, job, js=SELECTED_KEY, **PRIVATE)
    job.change(opened_log, job, tab.log, **LATEST)
    tab.panel.wire(services, _body)


def _none(wanted: JobFilter, say: Translator) -> str:
    words = ("jobs.none", "jobs.none_hint") if wanted == JobFilter() else ("jobs.nothing", "jobs.nothing_hint")
    return empty(*map(say, words))


def _away(services: Services, say: Translator, visits: str) -> str:
    """What ended between the last visit and the beginning of this one: two times of this server's clock."""
    last, _, arrived = visits.partition(" ")
    try:
        since, until = float(last), float(arrived or "inf")
    except ValueError:
        return ""  # the first visit
    ended = [view for view in services.jobs.ended_since(since) if (view.job.ended or 0.0) <= until]
    return while_away(ended, say, duration(max(0.0, time.time() - since)))


def _body(services: Services, view: JobView, say: Translator) -> str:
    jobs, job = services.jobs, view.job
    needed, needing = jobs.related(job)
    events, files = jobs.events(job.id)[-_EVENTS:], jobs.files(job)
    return details(JobDetails(view, needed, needing, jobs.nodes(job), events, files), say)
