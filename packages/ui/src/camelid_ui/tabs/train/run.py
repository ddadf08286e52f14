"""One training run: progress, curves, sample answers, and buttons to stop, resume, clone or delete it.

Knows its components and polls while the run is under way. What it shows is `services.training`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError

from camelid_ui.i18n import Translator, t, translator_for
from camelid_ui.services import Services
from camelid_ui.services.training import RunDetails
from camelid_ui.tabs import EACH, LATEST, PRIVATE
from camelid_ui.tabs.components import (
    ConfirmedButton,
    changed_field,
    confirmed_button,
    controls,
    error_message,
    hidden_box,
    job_action_handler,
    panel,
)
from camelid_ui.views.train import run as view
from camelid_ui.views.train.samples import samples

POLL_SECONDS = 1.5


@dataclass(frozen=True)
class RunPanel:
    """`state_changed` changes when the run's state does, for the table of runs; `step` is the step whose sample
    answers are shown."""

    column: gr.Column
    head: gr.HTML
    progress: gr.HTML
    finish: gr.Button
    stop: ConfirmedButton
    chat: gr.Button
    merge: gr.Button
    retry: gr.Button
    again: gr.Button
    new: gr.Button
    delete: ConfirmedButton
    notice: gr.HTML
    result: gr.HTML
    plots: gr.HTML
    answers: gr.HTML
    about: gr.HTML
    timer: gr.Timer
    seen: gr.Textbox
    step: gr.Textbox
    state_changed: gr.State

    def wire(self, run: gr.Textbox, services: Services) -> None:
        """Show the run whose number is in `run`."""

        def show(number: str, seen: str, step: str, request: gr.Request) -> tuple[Any, ...]:
            return self._show(services, number, seen, step, translator_for(request))

        def choose(number: str, event: gr.EventData, request: gr.Request) -> tuple[str, str]:
            step = changed_field(event)[1]
            return step, samples(services.training.show(int(number)).report.samples, step, translator_for(request))

        inputs = [run, self.seen, self.step]
        outputs = [
            self.column, self.head, self.progress, self.finish, self.stop.ask, self.stop.row, self.chat, self.merge,
            self.retry, self.again, self.delete.ask, self.delete.row,
            self.delete.option, self.result, self.plots, self.answers, self.about,
            self.timer, self.seen, self.state_changed,
        ]  # fmt: skip
        run.change(lambda: ("", ""), None, [self.step, self.notice], **PRIVATE).then(show, inputs, outputs, **LATEST)
        self.timer.tick(show, inputs, outputs, **PRIVATE)
        for button, action in (
            (self.finish, services.jobs.finish),
            (self.stop.yes, services.jobs.cancel),
            (self.retry, services.jobs.retry),
        ):
            button.click(job_action_handler(action), run, self.notice, **PRIVATE).then(show, inputs, outputs, **LATEST)
        self.new.click(lambda: "", None, run, **PRIVATE)
        self.answers.input(choose, run, [self.step, self.answers], **EACH)

    def _show(self, services: Services, number: str, seen: str, step: str, say: Translator) -> tuple[Any, ...]:
        stopped_timer = gr.Timer(active=False)
        if not number.strip().isdecimal():
            return (gr.update(visible=False), *[gr.skip()] * 16, stopped_timer, "", "")
        try:
            return self._updates(services.training.show(int(number)), seen, step, say)
        except CamelidError as problem:
            hidden = [gr.update(visible=False)] * 10
            return (gr.update(visible=True), error_message(problem), "", *hidden, "", "", "", "", stopped_timer, "", "")

    def _updates(self, run: RunDetails, seen: str, step: str, say: Translator) -> tuple[Any, ...]:
        can, curves = run.view.allowed_actions, run.report.curves
        phase = f"{run.job.id}:{run.job.epoch}:{run.job.state}:{run.job.request}"
        last_steps = [points[-1].step if points else "" for points in (curves.loss, curves.heldout_loss)]
        answers = sum(len(sample.answers) for sample in run.report.samples)
        # what did not change is not redrawn: somebody may be reading it
        drawn, known = f"{phase}:{last_steps}:{answers}", f"{phase}:{'preflight' in run.report.latest}"
        drawn_before, _, known_before = seen.partition("|")
        confirmations = [
            gr.update(visible="cancel" in can), gr.update(visible=False),
            gr.update(visible=not run.view.running), gr.update(visible=False),
        ] if not seen.startswith(f"{phase}:") else [gr.skip()] * 4  # fmt: skip
        return (
            gr.update(visible=True),
            view.heading(run, say),
            view.progress(run, say),
            gr.update(visible=run.view.running, interactive="finish" in can),
            *confirmations[:2],
            gr.update(visible=bool(run.artefact)),
            gr.update(visible=bool(run.artefact)),
            gr.update(visible="retry" in can, value=t("run.resume" if run.report.of("checkpoint") else "run.retry")),
            gr.update(visible=True),
            *confirmations[2:],
            gr.update(visible=bool(run.artefact)),
            view.result(run, say),
            gr.skip() if drawn == drawn_before else view.curves(run, say),
            gr.skip() if drawn == drawn_before else samples(run.report.samples, step, say),
            gr.skip() if known == known_before else view.about(run, say),
            gr.Timer(active=run.view.running),
            f"{drawn}|{known}",
            phase,
        )


def build_run() -> RunPanel:
    with gr.Column(visible=False, elem_id="run", elem_classes="camelid-card") as column:
        head = panel(elem_id="run-head")
        progress = panel(elem_id="run-progress")
        with gr.Row(elem_classes="camelid-actions"):
            finish = gr.Button(t("run.finish"), elem_id="run-finish")
            stop = confirmed_button(t("run.stop"), t("run.stop_sure"), t("run.stop"), "run-stop")
            chat = gr.Button(t("run.chat"), variant="primary", elem_id="run-chat")
            merge = gr.Button(t("run.merge"), elem_id="run-merge")
            retry = gr.Button(t("run.retry"), elem_id="run-retry")
            again = gr.Button(t("run.again"), elem_id="run-again")
            new = gr.Button(t("run.new"), elem_id="run-new")
            delete = confirmed_button(
                t("run.delete"), t("run.delete_sure"), t("run.delete"), "run-delete", option=t("run.delete_result")
            )
        notice = panel(elem_id="run-notice")
        result = panel(elem_id="run-result")
        plots = panel(elem_id="run-plots")
        answers = controls(elem_id="run-answers")
        about = panel(elem_id="run-about")
    return RunPanel(
        column=column, head=head, progress=progress, finish=finish, stop=stop, chat=chat, merge=merge, retry=retry,
        again=again, new=new, delete=delete, notice=notice, result=result, plots=plots, answers=answers, about=about,
        timer=gr.Timer(POLL_SECONDS, active=False), seen=hidden_box("run-seen"), step=hidden_box("run-step"),
        state_changed=gr.State(""),
    )  # fmt: skip
