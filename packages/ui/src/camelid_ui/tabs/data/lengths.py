"""Token lengths of the chosen dataset and the cut-off: of the first rows at once, of all rows on request.

Knows its components and handlers. The page's script lets the cut-off be dragged in the histogram.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError

from camelid_ui.i18n import Translator, t, translator_for
from camelid_ui.services import Services
from camelid_ui.services.data import TokenLengths
from camelid_ui.tabs import LATEST, PRIVATE
from camelid_ui.tabs.components import error_message, panel, progress_of
from camelid_ui.views.data import lengths as view

CUTOFF_FIELD = "data-cutoff"
WAIT = 1.0
"""Seconds that a click waits for short work before the page polls its progress."""


@dataclass(frozen=True)
class LengthsPanel:
    """`cutoff` is the number that the histogram's line writes to; `busy` shows the progress of counting all rows."""

    cutoff: gr.Number
    histogram: gr.HTML
    cut: gr.HTML
    all: gr.Button
    busy: gr.HTML
    timer: gr.Timer

    @property
    def shown(self) -> list[Any]:
        return [self.histogram, self.cut, self.busy, self.all, self.timer]


def build() -> LengthsPanel:
    with gr.Row(elem_classes="camelid-section-row"):
        panel(t("data.lengths_title"), elem_classes="camelid-heading")
        cutoff = gr.Number(
            512, label=t("data.cutoff"), precision=0, minimum=1, min_width=110, elem_id=CUTOFF_FIELD,
            elem_classes="camelid-inline",
        )  # fmt: skip
    histogram = panel(elem_id="data-histogram")
    cut = panel(elem_id="data-cut")
    with gr.Row(elem_classes="camelid-actions"):
        every = gr.Button(t("data.count_all"), elem_id="data-count-all")
        busy = panel(elem_id="data-counting")
    return LengthsPanel(cutoff, histogram, cut, every, busy, gr.Timer(1.0, active=False))


def show(services: Services, name: str, model: str, template: str, cutoff: int, say: Translator) -> tuple[Any, ...]:
    """Updates for `shown`."""
    nothing = ("", "", "", gr.update(visible=False), gr.Timer(active=False))
    if not (name and model):
        return nothing
    measure = services.data.lengths
    try:
        found = measure.known(name, model, template)
        work = measure.counting(name, model, template)
    except CamelidError as problem:
        return (error_message(problem), *nothing[1:])
    counting = work is not None and work.running
    return (
        view.histogram(found, cutoff, CUTOFF_FIELD, say),
        _cut(services, found, name, cutoff, say),
        progress_of(work, say) if work is not None else "",
        gr.update(visible=not found.exact, interactive=not counting),
        gr.Timer(active=counting),
    )


def _cut(services: Services, found: TokenLengths, name: str, cutoff: int, say: Translator) -> str:
    if cutoff < 1:
        return ""
    return view.cut(found.at(cutoff), cutoff, found.exact, services.data.collection.show(name).rows, say)


def wire(widgets: LengthsPanel, measured_as: list[Any], rows_changed: list[Any], services: Services) -> None:
    """`measured_as` are the dataset, the model and the template; `rows_changed` the events after which other rows are
    shown."""

    def measured(
        name: str, model: str | None, template: str | None, cutoff: float | None, request: gr.Request
    ) -> tuple[Any, ...]:
        return show(services, name, model or "", template or "", int(cutoff or 0), translator_for(request))

    def cutoff_changed(
        name: str, model: str | None, template: str | None, cutoff: float | None, request: gr.Request
    ) -> str:
        """Another cut-off: rows are counted again, none is tokenised."""
        try:
            found = services.data.lengths.known(name, model or "", template or "")
            return _cut(services, found, name, int(cutoff or 0), translator_for(request))
        except CamelidError:
            return ""  # reported where the histogram would be

    def count(
        name: str, model: str | None, template: str | None, cutoff: float | None, request: gr.Request
    ) -> tuple[Any, ...]:
        try:
            services.data.lengths.count(name, model or "", template or "").wait(WAIT)
        except CamelidError as problem:
            return gr.skip(), gr.skip(), error_message(problem), gr.skip(), gr.Timer(active=False)
        return measured(name, model, template, cutoff, request)

    def watch(
        name: str, model: str | None, template: str | None, cutoff: float | None, request: gr.Request
    ) -> tuple[Any, ...]:
        """While it runs only its progress changes; when it is over everything does."""
        work = services.data.lengths.counting(name, model or "", template or "")
        if work is not None and work.running:
            return gr.skip(), gr.skip(), progress_of(work, translator_for(request)), gr.skip(), gr.skip()
        return measured(name, model, template, cutoff, request)

    inputs = [*measured_as, widgets.cutoff]
    seen = [widget.change for widget in measured_as[1:]]
    gr.on([*rows_changed, *seen], measured, inputs, widgets.shown, **LATEST)
    widgets.cutoff.change(cutoff_changed, inputs, widgets.cut, **LATEST)
    widgets.all.click(count, inputs, widgets.shown, **PRIVATE)
    widgets.timer.tick(watch, inputs, widgets.shown, **PRIVATE)
