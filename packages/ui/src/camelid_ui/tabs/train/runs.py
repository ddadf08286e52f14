"""All runs: found by words and by state, opened, and picked for comparison.

Knows its components. What it lists is `services.training`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from camelid_ui.i18n import t, translator_for
from camelid_ui.services import Services
from camelid_ui.services.training.run_comparison import job_ids_in
from camelid_ui.services.training.runs import FILTERS
from camelid_ui.tabs import LATEST
from camelid_ui.tabs.components import controls, panel
from camelid_ui.views import empty
from camelid_ui.views.train import runs as view

POLL_SECONDS = 3.0


@dataclass(frozen=True)
class RunTable:
    """`list.select` opens a run, `list.input` picks one for comparison."""

    find: gr.Textbox
    state: gr.Dropdown
    list: gr.HTML
    timer: gr.Timer

    def wire(self, services: Services, run: gr.Textbox, compare: gr.Textbox, state_changed: gr.State) -> None:
        """`run` is marked, `compare` are ticked; `state_changed` changes when the shown run does."""

        def listed(opened: str, picked: str, search: str, state: str, request: gr.Request) -> tuple[str, gr.Timer]:
            say = translator_for(request)
            found = services.training.all(search or "", state or "")
            live = gr.Timer(active=any(each.view.running for each in found))
            if found:
                return view.runs(found, say, opened.strip(), {str(each) for each in job_ids_in(picked)}), live
            searched = bool(search or state)
            words = ("runs.nothing", "runs.nothing_hint") if searched else ("runs.none", "runs.none_hint")
            return empty(*map(say, words)), live

        changes = [
            run.change,
            compare.change,
            state_changed.change,
            self.find.change,
            self.state.change,
            self.timer.tick,
        ]
        gr.on(changes, listed, [run, compare, self.find, self.state], [self.list, self.timer],
              **LATEST)  # fmt: skip


def build_runs() -> RunTable:
    states: list[Any] = [(t("runs.all"), ""), *((t(f"state.{name}"), name) for name in FILTERS)]
    with gr.Row(elem_classes="camelid-section-row"):
        panel(t("runs.title"), elem_classes="camelid-heading")
        with gr.Row(elem_classes="camelid-filters"):
            find = gr.Textbox(label=t("runs.find"), elem_id="runs-find", elem_classes="camelid-inline", min_width=0)
            state = gr.Dropdown(
                states,
                value="",
                label=t("runs.state"),
                elem_id="runs-state",
                elem_classes="camelid-inline",
                min_width=0,
            )
    entries = controls(elem_id="train-runs")
    return RunTable(find, state, entries, gr.Timer(POLL_SECONDS, active=False))
