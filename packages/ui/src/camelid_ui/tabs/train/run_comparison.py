"""Runs side by side, in place of the form.

Knows its components. What it compares is `services.training`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from camelid_ui.i18n import t, translator_for
from camelid_ui.services import Services
from camelid_ui.services.training.run_comparison import job_ids_in
from camelid_ui.tabs import PRIVATE
from camelid_ui.tabs.components import panel
from camelid_ui.views.train import runs as view

POLL_SECONDS = 3.0


@dataclass(frozen=True)
class ComparePanel:
    column: gr.Column
    shown: gr.HTML
    close: gr.Button
    timer: gr.Timer

    def wire(self, compare: gr.Textbox, services: Services) -> None:
        """Show the runs whose numbers are in `compare`, once there are two of them."""

        def show(chosen: str, request: gr.Request) -> tuple[Any, ...]:
            wanted = job_ids_in(chosen)
            if len(wanted) < 2:
                return gr.update(visible=False), "", gr.Timer(active=False)
            found = services.training.compare(wanted)
            live = any(run.view.running for run in found.runs)
            return gr.update(visible=True), view.compared(found, translator_for(request)), gr.Timer(active=live)

        outputs = [self.column, self.shown, self.timer]
        gr.on([compare.change, self.timer.tick], show, compare, outputs, **PRIVATE)
        self.close.click(lambda: "", None, compare, **PRIVATE)


def build_comparing() -> ComparePanel:
    with gr.Column(visible=False, elem_id="compare", elem_classes="camelid-card") as column:
        with gr.Row(elem_classes="camelid-section-row"):
            panel(t("compare.title"), elem_classes="camelid-heading flush")
            close = gr.Button(t("compare.close"), size="sm", elem_id="compare-close")
        shown = panel(elem_id="compare-shown")
    return ComparePanel(column, shown, close, gr.Timer(POLL_SECONDS, active=False))
