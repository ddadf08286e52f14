"""The Jobs page: all jobs, and one job's log and events.

Knows its components. What they show is `services.jobs`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import gradio as gr

from camelid_ui.i18n import Translator, t, translator_for
from camelid_ui.services import Services
from camelid_ui.services.jobs import JobView
from camelid_ui.views import empty, esc, facts
from camelid_ui.views import jobs as view

from . import PRIVATE
from .components import SELECTED_KEY, address, panel, selectable
from .job import JobPanel, build_job

_EVENTS = 40


@dataclass(frozen=True)
class JobsTab:
    panel: JobPanel
    list: gr.HTML
    timer: gr.Timer


def build(services: Services) -> JobsTab:
    job = address("job")
    shown = build_job(job, "job")
    panel(t("jobs.title"), elem_classes="camelid-heading")
    entries = selectable(elem_id="jobs-list")
    tab = JobsTab(shown, entries, gr.Timer(3, active=False))

    def listed(chosen: str, request: gr.Request) -> tuple[str, gr.Timer]:
        say = translator_for(request)
        views = services.jobs.all()
        html = view.table(views, say, chosen) if views else empty(say("jobs.none"), say("jobs.none_hint"))
        return html, gr.Timer(active=any(each.running for each in views))

    shown.wire(services, _body)
    entries.select(None, None, job, js=SELECTED_KEY, **PRIVATE)
    gr.on([job.change, shown.state_changed.change, tab.timer.tick], listed, job, [entries, tab.timer], **PRIVATE)
    return tab


def _body(services: Services, job: JobView, say: Translator) -> str:
    log = services.jobs.log(job.job.id)
    events = services.jobs.events(job.job.id)[-_EVENTS:]
    about = facts([(say("jobs.result"), job.job.published), (say("jobs.worker"), job.job.owner or job.job.process)])
    lines = "\n".join(json.dumps(event, ensure_ascii=False) for event in events)
    return (
        f"{about}{_part(say('jobs.log'), log, True)}{_part(say('jobs.events'), lines)}"
        f"{_part(say('jobs.settings'), json.dumps(dict(job.job.config), indent=2, ensure_ascii=False))}"
    )


def _part(title: str, text: str, opened: bool = False) -> str:
    if not text:
        return ""
    return (
        f'<details class="camelid-part"{" open" if opened else ""}><summary>{esc(title)}</summary>'
        f'<pre class="camelid-log" tabindex="0">{esc(text)}</pre></details>'
    )
