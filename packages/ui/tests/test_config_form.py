"""Forms: one widget per field, and errors at the widget they belong to."""

from __future__ import annotations

import gradio as gr
import pytest
from camelid_serve.config import PredictConfig
from camelid_serve.engine import Sampling
from camelid_train.config import Recipe
from camelid_train.export.merge_config import MergeConfig
from camelid_ui.config_fields import config_fields
from camelid_ui.config_form import ConfigForm, field_texts
from camelid_ui.field_values import InvalidFields
from camelid_ui.needed_fields import NEEDS


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


@pytest.mark.parametrize("need", NEEDS, ids=lambda need: need.head)
def test_what_means_nothing_is_hidden_and_nothing_in_force_is(need):
    classes = [
        {each.key: each for each in config_fields(cls)} for cls in (Recipe, MergeConfig, PredictConfig, Sampling)
    ]
    (known,) = [each for each in classes if {need.head, *need.fields} <= each.keys()]
    defaults = {key: known[key].default for key in need.fields}
    for value in (known[need.head].default, "deepspeed", "7", 7, None, "", 0, "constant"):
        assert need.shown(value, defaults, defaults) == [need.holds(value)] * len(need.fields)
        changed = {key: f"not {default}" for key, default in defaults.items()}
        assert all(need.shown(value, changed, defaults))
        texts = {key: "" if each is None else str(each) for key, each in defaults.items()}
        written = {key: defaults[key] if isinstance(defaults[key], bool) else text for key, text in texts.items()}
        assert need.shown(value, written, defaults) == need.shown(value, defaults, defaults)


def test_the_form_opens_without_them():
    with gr.Blocks(analytics_enabled=False):
        form = ConfigForm(Recipe, "train")
        form.add_drawer()
    hidden = ("launch.zero", "eval.patience", "train.best")
    assert not any(form.widgets[key].visible for key in hidden)
    assert form.widgets["train.warmup"].visible
    assert form.widgets["eval.sample_tokens"].visible


@pytest.mark.parametrize(("cls", "section"), [(Sampling, ""), (PredictConfig, "sampling.")])
def test_what_greedy_decoding_does_not_read_is_hidden_until_tokens_are_drawn(cls, section):
    with gr.Blocks(analytics_enabled=False) as demo:
        form = ConfigForm(cls, "f")
        form.add_drawer()
        form.show_needed_fields()
    drawing = [f"{section}{name}" for name in ("top_p", "top_k", "min_p", "seed")]
    assert [key for key, widget in form.widgets.items() if not widget.visible] == drawing
    change = next(each for each in demo.fns.values() if form.widgets[drawing[0]] in each.outputs)
    for temperature, values, shown in (
        (0, (1, 0, 0, 0), [False] * 4),  # as a number field gives them
        (0.7, (1, 0, 0, 0), [True] * 4),
        (0, (0.9, 0, 0, 7), [True, False, False, True]),
    ):
        assert [update["visible"] for update in change.fn(temperature, *values)] == shown
