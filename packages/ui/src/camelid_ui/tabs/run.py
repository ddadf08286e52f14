"""One training run on the Train page: its progress, its curves, and what can be asked of it.

Knows its components and polls while the run is under way. What it shows is `services.training`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
import pandas as pd  # type: ignore[import-untyped]
from camelid_core.errors import CamelidError

from camelid_ui.services import Services
from camelid_ui.services.training import Curves, Point, Run
from camelid_ui.text import Voice, t, voice_of
from camelid_ui.views import train as view

from . import PRIVATE
from .parts import Confirmed, confirmed, message, panel

POLL_SECONDS = 1.5
_COLOURS = {"training": "#9fb8b5", "smoothed": "#2f807a", "held out": "#b3541e", "rate": "#2f807a"}


@dataclass(frozen=True)
class RunPanel:
    """`ended` changes when the run does, for whoever lists runs."""

    column: gr.Column
    head: gr.HTML
    progress: gr.HTML
    result: gr.HTML
    said: gr.HTML
    loss: gr.LinePlot
    rate: gr.LinePlot
    finish: gr.Button
    stop: Confirmed
    retry: gr.Button
    again: gr.Button
    new: gr.Button
    chat: gr.Button
    merge: gr.Button
    timer: gr.Timer
    seen: gr.State
    ended: gr.State

    def wire(self, run: gr.Textbox, form: gr.Column, services: Services) -> None:
        """Show the run whose number is in `run`, in place of `form`."""

        def show(number: str, seen: str, request: gr.Request) -> tuple[Any, ...]:
            return self._show(services, number, seen, voice_of(request))

        def ask(action: Any) -> Any:
            def handler(number: str) -> Any:
                try:
                    action(int(number))
                except (CamelidError, ValueError) as problem:
                    return message(problem)
                return ""

            return handler

        outputs = [
            form, self.column, self.head, self.progress, self.result, self.loss, self.rate, self.finish, self.stop.ask,
            self.stop.row, self.retry, self.chat, self.merge, self.timer, self.seen, self.ended,
        ]  # fmt: skip
        run.change(lambda: "", None, self.seen, **PRIVATE).then(show, [run, self.seen], outputs, **PRIVATE)
        self.timer.tick(show, [run, self.seen], outputs, **PRIVATE)
        for button, action in (
            (self.finish, services.jobs.finish),
            (self.stop.yes, services.jobs.cancel),
            (self.retry, services.jobs.retry),
        ):
            button.click(ask(action), run, self.said, **PRIVATE).then(show, [run, self.seen], outputs, **PRIVATE)
        self.new.click(lambda: "", None, run, **PRIVATE)

    def _show(self, services: Services, number: str, seen: str, say: Voice) -> tuple[Any, ...]:
        if not number.isdecimal():
            hidden = [gr.skip()] * 11
            return (gr.update(visible=True), gr.update(visible=False), *hidden, gr.Timer(active=False), "", "")
        try:
            run = services.training.show(int(number))
        except CamelidError as problem:
            nothing = gr.update(visible=False)
            return (gr.update(visible=True), gr.update(visible=True), message(problem), "", "",
                    nothing, nothing, nothing, *self.stop.hidden(), nothing, nothing, nothing,
                    gr.Timer(active=False), "", "")  # fmt: skip
        return self._updates(run, seen, say)

    def _updates(self, run: Run, seen: str, say: Voice) -> tuple[Any, ...]:
        can = run.view.can
        phase = f"{run.job.id}:{run.job.epoch}:{run.job.state}:{run.job.request}"
        drawn = f"{phase}:{len(run.curves.loss)}:{len(run.curves.heldout)}"
        stopping = (
            (gr.update(visible="cancel" in can), gr.update(visible=False))
            if phase not in seen
            else (gr.skip(), gr.skip())
        )
        return (
            gr.update(visible=False),
            gr.update(visible=True),
            view.heading(run, say),
            view.progress(run, say),
            view.result(run, say) + (view.legend(say) if run.curves.loss else ""),
            gr.skip() if drawn == seen else _plot(_losses(run.curves)),
            gr.skip() if drawn == seen else _plot(_frame([(run.curves.rate, "rate")])),
            gr.update(visible=run.view.running, interactive="finish" in can),
            *stopping,
            gr.update(visible="retry" in can),
            gr.update(visible=bool(run.artefact)),
            gr.update(visible=bool(run.artefact)),
            gr.Timer(active=run.view.running),
            drawn,
            phase,
        )


def build_run() -> RunPanel:
    with gr.Column(visible=False, elem_id="run", elem_classes="camelid-card") as column:
        head = panel(elem_id="run-head")
        progress = panel(elem_id="run-progress")
        with gr.Row(elem_classes="camelid-actions"):
            finish = gr.Button(t("run.finish"), elem_id="run-finish")
            stop = confirmed(t("run.stop"), t("run.stop_sure"), t("run.stop"), "run-stop")
            chat = gr.Button(t("run.chat"), variant="primary", elem_id="run-chat")
            merge = gr.Button(t("run.merge"), elem_id="run-merge")
            retry = gr.Button(t("run.retry"), elem_id="run-retry")
            again = gr.Button(t("run.again"), elem_id="run-again")
            new = gr.Button(t("run.new"), elem_id="run-new")
        said = panel(elem_id="run-said")
        result = panel(elem_id="run-result")
        with gr.Row(equal_height=False):
            loss = _line(t("train.loss"), scale=2, ident="run-loss")
            rate = _line(t("train.rate"), scale=1, ident="run-rate")
    return RunPanel(
        column=column, head=head, progress=progress, result=result, said=said, loss=loss, rate=rate, finish=finish,
        stop=stop, retry=retry, again=again, new=new, chat=chat, merge=merge,
        timer=gr.Timer(POLL_SECONDS, active=False), seen=gr.State(""), ended=gr.State(""),
    )  # fmt: skip


def _line(label: Any, scale: int, ident: str) -> gr.LinePlot:
    return gr.LinePlot(
        x="step", y="value", color="series", label=label, show_label=True, x_title=" ", y_title=" ",
        height=250, scale=scale, min_width=260, elem_id=ident, tooltip="axis", buttons=[], visible=False,
        color_map=_COLOURS, color_title=" ",
    )  # fmt: skip


def _losses(curves: Curves) -> pd.DataFrame:
    return _frame([(curves.loss, "training"), (curves.smoothed(), "smoothed"), (curves.heldout, "held out")])


def _frame(series: list[tuple[tuple[Point, ...], str]]) -> pd.DataFrame:
    def lines() -> Iterator[dict[str, Any]]:
        for points, name in series:
            yield from ({"step": point.step, "value": point.value, "series": name} for point in points)

    return pd.DataFrame(lines(), columns=["step", "value", "series"])


def _plot(frame: pd.DataFrame) -> Any:
    return gr.update(value=frame, visible=len(frame) > 0)
