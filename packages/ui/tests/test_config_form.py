"""Forms: one widget per field, and errors at the widget they belong to."""

from __future__ import annotations

import gradio as gr
import pytest
from camelid_serve.config import PredictConfig
from camelid_serve.engine import Sampling
from camelid_train.config import MergeConfig, Recipe
from camelid_ui.config_fields import config_fields
from camelid_ui.config_form import ConfigForm, field_texts
from camelid_ui.field_values import InvalidFields


@pytest.mark.parametrize("cls", [Recipe, MergeConfig, PredictConfig, Sampling])
def test_the_drawer_has_every_field_once(cls):
    with gr.Blocks(analytics_enabled=False):
        form = ConfigForm(cls, "f")
        form.add_fields(config_fields(cls)[0].key)
        form.add_drawer()
    assert set(form.widgets) == {config_field.key for config_field in config_fields(cls)}
    assert len({widget.elem_id for widget in form.inputs}) == len(form.inputs)


def test_widgets_give_the_configuration_they_show():
    with gr.Blocks(analytics_enabled=False):
        form = ConfigForm(Recipe, "f")
        form.add_drawer()
    assert form.config([widget.value for widget in form.inputs]) == Recipe()
    updates = form.fill(Recipe().with_overrides(["train.seed=9", "train.max_steps=4"]))
    values = [update["value"] for update in updates]
    assert form.config(values).train.seed == 9
    assert form.config(values).train.max_steps == 4


def test_an_error_is_put_at_its_widget_and_taken_away_again():
    with gr.Blocks(analytics_enabled=False):
        form = ConfigForm(Recipe, "f")
        form.add_drawer()
    paths = list(form.widgets)
    problem = InvalidFields("", {"data.sources.0": "Not there.", "method.lora.r": "Too small.", "elsewhere": "Odd."})
    wrong, updates = form.mark_errors(problem)
    assert wrong == ["data.sources", "method.r"]
    assert updates[paths.index("method.r")]["info"] == "Too small."
    assert form.other_errors(problem) == "elsewhere: Odd."
    still, cleared = form.mark_errors(None, wrong)
    assert still == []
    assert "camelid-invalid" not in cleared[paths.index("method.r")]["elem_classes"]


def test_labels_and_help_of_fields_are_in_the_table_of_texts():
    table = field_texts([Recipe])
    assert table["label.train.batch_size"] == "Batch size"
    assert "(1–4096)" in table["help.train.batch_size"]


def test_only_the_chosen_methods_fields_are_shown():
    with gr.Blocks(analytics_enabled=False) as demo:
        form = ConfigForm(Recipe, "f")
        form.add_drawer()
        form.show_chosen_variant()
    shown = {key for key, widget in form.widgets.items() if widget.visible}
    assert {"method.type", "method.r"} <= shown
    assert not {"method.shard", "method.targets@ia3"} & shown
    change = next(each for each in demo.fns.values() if form.widgets["method.r"] in each.outputs)
    updates = dict(zip((widget.elem_id for widget in change.outputs), change.fn("ia3"), strict=True))
    assert {ident for ident, update in updates.items() if update["visible"]} == {
        "f-method-targets-ia3", "f-method-feed_forward",
    }  # fmt: skip
