"""Recipes: how they are written, which branches they give, and the published sets."""

from __future__ import annotations

import itertools

import pytest
from camelid_core.config import validate
from camelid_core.errors import ConfigError, UsageError
from camelid_gptq.recipes import BITS, GROUP_SIZES, RECIPE_SETS, GptqRecipe, read_recipes
from camelid_gptq.section import GptqSection
from camelid_train.export.config import ExportConfig


def section(**settings) -> GptqSection:
    return validate(ExportConfig, {"source": "x", "to": {"type": "gptq", **settings}}, "the test").to


def test_the_sets_are_those_that_were_published_in_the_order_of_their_tables():
    airoboros = read_recipes(["airoboros"])
    assert [(each.bits, each.group_size, each.desc_act) for each in airoboros] == [
        (4, 128, False), (4, 64, True), (4, 32, True), (4, 128, True),
        (8, 64, True), (8, 128, True), (8, 128, False), (8, -1, True),
    ]  # fmt: skip
    assert {each.damp for each in airoboros} == {0.1}
    tulu = read_recipes(["tulu"])
    assert [each.branch for each in tulu] == [
        "main",
        "gptq-4bit-32g-actorder_True",
        "gptq-4bit-64g-actorder_True",
        "gptq-4bit-128g-actorder_True",
        "gptq-8bit--1g-actorder_True",
        "gptq-8bit-128g-actorder_False",
    ]
    assert {each.damp for each in tulu} == {0.01}


def test_every_recipe_is_read_from_its_branch_and_from_its_short_form():
    for bits, group_size, desc_act in itertools.product(BITS, GROUP_SIZES, (True, False)):
        recipe = GptqRecipe(bits, group_size, desc_act)
        short = f"{bits}b{group_size}{'T' if desc_act else 'F'}"
        assert read_recipes([recipe.branch]) == read_recipes([short]) == [recipe]


def test_a_set_and_recipes_of_ones_own_become_one_list():
    chosen = section(recipes="tulu,3b128F")
    assert section(recipes=["tulu, 3b128F"]) == section(recipes=["tulu", "3b128F"]) == chosen
    assert [each.branch for each in chosen.all_recipes][-1] == "gptq-3bit-128g-actorder_False"
    assert chosen.of(chosen.all_recipes[-1]).all_recipes == [GptqRecipe(3, 128, False)]
    assert {each.damp for each in section(recipes=["airoboros"], damp=0.05).all_recipes} == {0.05}
    assert section(bits=3, group_size=-1).all_recipes == [GptqRecipe(3, -1, False, 0.01)]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["4b33T"], "group sizes -1, 16, 32"),
        (["5b32T"], "bits are 2, 3, 4, 8"),
        (["tulip"], "Did you mean 'tulu'?"),
        (["main", "4b128F"], "'main' twice"),
    ],
)
def test_what_is_no_recipe_is_refused_with_what_is(texts, words):
    with pytest.raises(UsageError, match=words):
        read_recipes(texts)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"bits": 5}, "2, 3, 4 or 8"),
        ({"group_size": 0}, "-1, 16, 32"),
        ({"damp": 1.0}, "less than 1"),
        ({"damp": 0}, "greater than 0"),
        ({"recipes": "tulu", "bits": 3}, "leave out bits"),
        ({"recipes": "tulu,4b32T"}, "twice"),
        ({"group": 32}, "Did you mean 'group_size'"),
    ],
)
def test_settings_that_do_not_fit_are_sentences(settings, words):
    with pytest.raises(ConfigError, match=words):
        section(**settings)


def test_a_job_keeps_the_settings():
    config = validate(ExportConfig, {"source": "m", "to": {"type": "gptq", "recipes": list(RECIPE_SETS)[:1]}}, "x")
    again = validate(ExportConfig, config.model_dump(mode="json"), "the job")
    assert again == config
    assert again.default_name == "m-gptq"
    assert validate(ExportConfig, {"source": "m", "to": {"type": "gptq"}}, "x").default_name == "m-gptq-4bit-128g"
