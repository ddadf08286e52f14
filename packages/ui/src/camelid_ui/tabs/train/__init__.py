"""The Train page: a recipe in three cards, the run it becomes, all runs, and runs side by side.

Knows the layout of the parts and how one leads to another. What they do is `services.training`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError
from camelid_train.config import Recipe

from camelid_ui.config_form import ConfigForm
from camelid_ui.services import Services
from camelid_ui.services.training.run_comparison import MAX_RUNS, job_ids_in
from camelid_ui.tabs import PRIVATE
from camelid_ui.tabs.components import address, error_message

from .recipe_form import RecipeForm, build_form
from .run import RunPanel, build_run
from .run_comparison import ComparePanel, build_comparing
from .runs import RunTable, build_runs


@dataclass(frozen=True)
class TrainTab:
    """`run` is the number of the run that is shown and `compare` those that are compared, both in the address;
    without them the page shows the form."""

    run: gr.Textbox
    compare: gr.Textbox
    recipe: RecipeForm
    panel: RunPanel
    comparing: ComparePanel
    table: RunTable

    @property
    def form(self) -> ConfigForm[Recipe]:
        return self.recipe.form


def build(services: Services) -> TrainTab:
    run, compare = address("run"), address("compare")
    tab = TrainTab(run, compare, build_form(services), build_run(), build_comparing(), build_runs())
    tab.recipe.wire(services, run, tab.panel.state_changed)
    tab.panel.wire(run, services)
    tab.comparing.wire(compare, services)
    tab.table.wire(services, run, compare, tab.panel.state_changed)
    _wire_navigation(tab, services)
    return tab


def _wire_navigation(tab: TrainTab, services: Services) -> None:
    def arrange(run: str, compare: str) -> Any:
        return gr.update(visible=not run.strip() and len(job_ids_in(compare)) < 2)

    def clone(run: str) -> tuple[Any, ...]:
        """The form filled with the settings of a run."""
        try:
            return ("", "", *tab.form.fill(services.training.recipe_of(int(run))))
        except (CamelidError, ValueError) as problem:
            return (gr.skip(), error_message(problem), *[gr.skip()] * len(tab.form.inputs))

    def delete(run: str, compare: str, result: bool) -> tuple[Any, ...]:
        try:
            services.training.delete(int(run), bool(result))
        except (CamelidError, ValueError) as problem:
            return gr.skip(), gr.skip(), error_message(problem), gr.skip()
        return "", ",".join(str(each) for each in job_ids_in(compare) if str(each) != run), "", False

    panel = tab.panel
    gr.on([tab.run.change, tab.compare.change], arrange, [tab.run, tab.compare], tab.recipe.column, **PRIVATE)
    chosen = [tab.run, tab.compare]
    tab.table.list.select(None, None, chosen, js="() => [camelid.selectedKey, '']", **PRIVATE)
    tab.table.list.input(None, chosen, chosen, js=f"(...held) => camelid.compared(...held, {MAX_RUNS})", **PRIVATE)
    panel.again.click(clone, tab.run, [tab.run, panel.notice, *tab.form.inputs], **PRIVATE)
    deleted = [tab.run, tab.compare, panel.notice, panel.delete.option]
    panel.delete.yes.click(delete, [tab.run, tab.compare, panel.delete.option], deleted, **PRIVATE)
