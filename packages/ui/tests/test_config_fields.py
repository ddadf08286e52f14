"""Every configuration class survives the way through widgets and back, and errors land at their field."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from camelid_core.config import Config
from camelid_serve.config import PredictConfig
from camelid_serve.engine import Sampling
from camelid_train.config import Recipe
from camelid_train.export.merge_config import MergeConfig
from camelid_ui.config_fields import config_fields
from camelid_ui.field_values import InvalidFields, build, default_values, flat, overrides, values_of
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

REQUIRED = {Recipe: {}, Sampling: {}, MergeConfig: {"adapter": "a"}, PredictConfig: {"input": "q.jsonl"}}


class Small(Config):
    """One variant of a section."""

    type: Literal["small"] = "small"
    """Which method."""
    size: int = Field(1, ge=1, le=9)
    """How big."""


class Large(Config):
    """Another variant."""

    type: Literal["large"] = "large"
    """Which method."""
    weight: float | None = Field(None, gt=0)
    """How heavy."""


class Choice(Config):
    """A section with two variants."""

    method: Annotated[Small | Large, Field(discriminator="type")] = Small()
    """How."""
    fast: bool = False
    """Whether to hurry."""


@pytest.mark.parametrize("cls", REQUIRED)
def test_defaults_make_the_default_configuration(cls):
    built = build(cls, {**default_values(cls), **REQUIRED[cls]})
    assert built == cls.model_validate(REQUIRED[cls])


@pytest.mark.parametrize("cls", REQUIRED)
def test_every_field_has_a_help_text(cls):
    assert [config_field.path for config_field in config_fields(cls) if not config_field.help] == []
    assert [
        config_field.path
        for config_field in config_fields(cls)
        if config_field.kind == "choice" and len(config_field.choices) < 2
    ] == []


@pytest.mark.parametrize("cls", REQUIRED)
def test_nothing_is_left_out(cls):
    """Every leaf of the configuration is a field of the form, except those with one possible value."""
    shown = {config_field.path for config_field in config_fields(cls)}
    hidden = set(flat(cls.model_validate(REQUIRED[cls]))) - shown
    assert hidden <= {"method.type", "objective.type", "launch.processes", "launch.nodes"}


def test_values_come_back_as_they_went():
    recipe = Recipe().with_overrides(
        ["train.learning_rate=1e-4", "data.sources=['a', 'b:0.5']", "train.max_steps=7", "method.targets=['q_proj']"]
    )
    assert build(Recipe, flat(recipe)) == recipe
    assert recipe.with_overrides(overrides(recipe)) == recipe


def test_overrides_read_back_as_the_same_configuration():
    given = ["data.sources=['my file.jsonl']", "train.learning_rate=0.0002", "model.name=tiny", "train.max_steps=5"]
    recipe = Recipe().with_overrides(given)
    assert Recipe().with_overrides(overrides(recipe)) == recipe
    assert overrides(recipe)[0] == "model.name=tiny"
    assert overrides(recipe, always=["train.seed"])[0].startswith("train.seed=")


def test_text_of_widgets_becomes_values():
    built = build(
        Recipe, {"train.max_steps": "12", "data.rows": "", "data.cutoff": 64.0, "method.targets": "q_proj\n\nv_proj"}
    )
    assert (built.train.max_steps, built.data.rows, built.data.cutoff) == (12, None, 64)
    assert built.method.targets == ["q_proj", "v_proj"]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("data.cutoff", 3, "greater than or equal to 16"),
        ("train.learning_rate", -1, "greater than 0"),
        ("train.max_steps", "soon", "valid integer"),
        ("train.batch_size", 1.5, "valid integer"),
    ],
)
def test_an_error_names_its_field(path, value, words):
    with pytest.raises(InvalidFields) as caught:
        build(Recipe, {path: value})
    assert list(caught.value.errors) == [path]
    assert words in caught.value.errors[path]


def test_several_errors_are_reported_at_once():
    with pytest.raises(InvalidFields) as caught:
        build(Recipe, {"data.cutoff": 1, "train.epochs": 0})
    assert set(caught.value.errors) == {"data.cutoff", "train.epochs"}


def test_a_section_of_two_variants_is_a_choice_and_its_fields():
    found = {config_field.path: config_field for config_field in config_fields(Choice)}
    assert found["method.type"].choices == ("small", "large")
    assert found["method.size"].variants == {"small"}
    assert found["fast"].kind == "boolean"
    built = build(Choice, {"method.type": "large", "method.size": 3, "method.weight": "2.5"})
    assert built.method == Large(weight=2.5)


def test_a_field_that_variants_mean_differently_is_listed_for_each():
    found = {
        config_field.key: config_field
        for config_field in config_fields(Recipe)
        if config_field.path == "method.initial"
    }
    assert set(found) == {"method.initial", "method.initial@prompt"}
    assert found["method.initial@prompt"].choices == ("vocabulary", "random")
    values = {"method.type": "prompt", "method.initial": "eva", "method.initial@prompt": "random"}
    assert build(Recipe, values).method.initial == "random"
    assert build(Recipe, values | {"method.type": "lora"}).method.initial == "eva"


@pytest.mark.parametrize("method", [form.model_fields["type"].default for form in Recipe.forms("method")])
def test_every_method_comes_back_from_its_widgets_and_its_command_line(method):
    recipe = Recipe().with_overrides([f"method.type={method}", "train.seed=3"])
    shown = values_of(recipe)
    assert set(shown) == set(default_values(Recipe))
    assert build(Recipe, shown) == recipe
    assert set(overrides(recipe)) == {"train.seed=3", *([f"method.type={method}"] if method != "lora" else [])}


def test_an_error_in_a_chosen_variants_field_is_found_there():
    with pytest.raises(InvalidFields) as caught:
        build(Recipe, {"method.type": "adalora", "method.every": 0, "method.r": 0})
    assert list(caught.value.errors) == ["method.every"]


def test_several_of_a_few_names_are_chosen_and_not_typed():
    found = next(config_field for config_field in config_fields(Recipe) if config_field.path == "train.report_to")
    assert found.kind == "lines"
    assert "tensorboard" in found.choices
    assert build(Recipe, {"train.report_to": ["tensorboard"]}).train.report_to == ["tensorboard"]


def test_bounds_are_written_in_signs():
    found = {config_field.path: config_field.bounds for config_field in config_fields(Recipe)}
    assert found["method.r"] == "1–1024"
    assert found["train.learning_rate"] == "> 0, < 10"
    assert found["train.save_steps"] == "≥ 1"


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="=\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"), min_size=1
)


@given(st.dictionaries(NAMES.map(str.strip).filter(bool), st.integers(1, 10**9), max_size=4))
def test_pairs_survive_the_way_through_a_text_and_a_command_line(caps):
    text = "\n".join(f"{name}={rows}" for name, rows in caps.items())
    built = build(Recipe, {**default_values(Recipe), "data.caps": text})
    assert built.data.caps == caps
    assert flat(built)["data.caps"] == caps
    assert Recipe().with_overrides(overrides(built)) == built


def test_a_pair_without_a_number_is_an_error_at_its_field():
    with pytest.raises(InvalidFields) as caught:
        build(Recipe, {**default_values(Recipe), "data.caps": "alpaca"})
    assert [path.partition(".caps")[0] for path in caught.value.errors] == ["data"]
