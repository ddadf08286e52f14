"""One job as a panel: state, progress, buttons to stop or retry it, and a body that its page renders.

Knows its components and polls while the job runs. Knows nothing of what the task does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError
from camelid_core.jobs import JobState

from camelid_ui.i18n import Translator, t, translator_for
from camelid_ui.services import Services
from camelid_ui.services.jobs import JobView
from camelid_ui.views import error, esc, note
from camelid_ui.views.jobs import badge, bar

from . import LATEST, PRIVATE
from .components import ConfirmedButton, confirmed_button, error_message, hidden_box, job_action_handler, panel

POLL_SECONDS = 1.5
BodyRenderer = Callable[[Services, JobView, Translator], str]


@dataclass(frozen=True)
class JobPanel:
    """Shows the job whose number is in `job`; `state_changed` changes when its state does."""

    job: gr.Textbox
    column: gr.Column
    head: gr.HTML
    body: gr.HTML
    notice: gr.HTML
    finish: gr.Button
    pause: gr.Button
    cancel: ConfirmedButton
    retry: gr.Button
    timer: gr.Timer
    seen: gr.Textbox
    state_changed: gr.State

    def wire(self, services: Services, body: BodyRenderer) -> None:
        def show(number: str, seen: str, request: gr.Request) -> tuple[Any, ...]:
            return self._show(services, body, number, seen, translator_for(request))

        outputs = [self.column, self.head, self.body, self.finish, self.pause, self.cancel.ask, self.cancel.row,
                   self.retry, self.timer, self.seen, self.state_changed]  # fmt: skip
        self.job.change(lambda: "", None, self.notice, **PRIVATE).then(show, [self.job, self.seen], outputs, **LATEST)
        self.timer.tick(show, [self.job, self.seen], outputs, **PRIVATE)
        actions = (
            (self.finish, services.jobs.finish),
            (self.pause, services.jobs.pause),
            (self.cancel.yes, services.jobs.cancel),
            (self.retry, services.jobs.retry),
        )
        for button, action in actions:
            button.click(job_action_handler(action), self.job, self.notice, **PRIVATE).then(
                show, [self.job, self.seen], outputs, **LATEST
            )

    def _show(self, services: Services, body: BodyRenderer, number: str, seen: str, say: Translator) -> tuple[Any, ...]:
        stopped_timer = gr.Timer(active=False)
        if not number.isdecimal():
            return (gr.update(visible=False), "", "", *[gr.skip()] * 5, stopped_timer, "", "")
        try:
            view = services.jobs.show(int(number))
            shown = body(services, view, say)
        except CamelidError as problem:
            hidden = gr.update(visible=False)
            return (
                gr.update(visible=True),
                error_message(problem),
                "",
                hidden,
                hidden,
                *self.cancel.hidden(),
                hidden,
                stopped_timer,
                "",
                "",
            )
        can, job = view.allowed_actions, view.job
        phase = f"{job.id}:{job.epoch}:{job.state}:{job.request}"
        cancel_updates = (
            (gr.update(visible="cancel" in can), gr.update(visible=False)) if phase != seen else (gr.skip(), gr.skip())
        )
        return (
            gr.update(visible=True),
            heading(view, say),
            shown,
            gr.update(visible="finish" in can),
            gr.update(visible="pause" in can),
            *cancel_updates,
            gr.update(visible="retry" in can, value=say("run.go_on" if job.state == JobState.PAUSED else "run.retry")),
            gr.Timer(active=view.running),
            phase,
            phase,
        )


def build_job(job: gr.Textbox, ident: str, body: gr.HTML | None = None) -> JobPanel:
    """`body` is one that is not laid out yet, where it has more to do than to show HTML."""
    with gr.Column(visible=False, elem_id=ident, elem_classes="camelid-card") as column:
        head = panel(elem_id=f"{ident}-head")
        with gr.Row(elem_classes="camelid-actions"):
            finish = gr.Button(t("run.finish"), elem_id=f"{ident}-finish")
            pause = gr.Button(t("run.pause"), elem_id=f"{ident}-pause")
            cancel = confirmed_button(t("run.stop"), t("run.stop_sure"), t("run.stop"), f"{ident}-cancel")
            retry = gr.Button(t("run.retry"), elem_id=f"{ident}-retry")
        notice = panel()
        shown = panel(elem_id=f"{ident}-body") if body is None else body.render()
    return JobPanel(
        job=job, column=column, head=head, body=shown, notice=notice, finish=finish, pause=pause,
        cancel=cancel, retry=retry,
        timer=gr.Timer(POLL_SECONDS, active=False), seen=hidden_box(f"{ident}-seen"), state_changed=gr.State(""),
    )  # fmt: skip


def heading(view: JobView, say: Translator) -> str:
    job = view.job
    head = f'<div class="camelid-runhead"><h2>{esc(job.id)} · {esc(job.label)}</h2>{badge(view, say)}</div>'
    waiting = note(view.waits or say(f"train.waiting.{job.state}")) if view.running and not view.total else ""
    as_asked = view.running or job.error_kind in ("cancelled", "paused")
    failed = (note if as_asked else error)(job.error) if job.error else ""
    return head + (bar(view, say) if view.total else waiting) + failed
