"""The recipes in examples/: each reads, and each trains a tiny model of its kind for a step."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from camelid_core.artefacts import verify_directory
from camelid_core.config import load
from camelid_core.models.resolved_model import resolve_model
from camelid_core.models.rope import context_length
from camelid_core.plugins import load_host
from camelid_train.compat.uniform_finetune import read
from camelid_train.config import Recipe
from camelid_train.run import train

EXAMPLES = Path(__file__).parents[3] / "examples"
OURS = {
    "alpaca-llama": "llama", "alpaca-chatglm": "chatglm", "alpaca-bloom": "bloom", "airoboros-pi-8192": "llama",
    "supercot": "llama", "tulu": "llama",
}  # fmt: skip
"""Recipe → family of the tiny model."""
QUICK = ("train.max_steps=1", "eval.samples=0")


@pytest.mark.parametrize("name", OURS)
def test_a_recipe_trains_as_it_is_on_a_tiny_model(attempt, named_base, sums, name):
    recipe = load(
        Recipe,
        EXAMPLES / "recipes" / f"{name}.toml",
        [f"model.name={named_base(OURS[name])}", f'data.sources=["{sums}"]', "data.rows=24", "data.caps={}", *QUICK],
    )
    run = attempt()
    metrics = train(recipe, run)
    assert metrics["steps"] == 1
    assert metrics["eval_loss"] > 0
    manifest = verify_directory(run.output).manifest
    assert manifest.template.name == recipe.data.template
    assert manifest.parameters["method"] == recipe.method.model_dump(mode="json")
    if recipe.model.rope:  # four times as far as this base reaches, whatever that is
        assert (manifest.rope_scaling["rope_type"], manifest.rope_scaling["factor"]) == ("linear", 4.0)
        assert context_length(resolve_model(str(run.output), load_host()).config) == 4 * 512


@pytest.mark.parametrize("name", [name for name in OURS if name.startswith("alpaca")])
def test_a_recipe_is_what_its_command_means(name):
    """The command in its first lines; how often it saves and
    measures, and so whether it keeps the best, depends on the rows, which a recipe cannot count."""
    path = EXAMPLES / "recipes" / f"{name}.toml"
    comments = "\n".join(line.lstrip("# ") for line in path.read_text().splitlines() if line.startswith("#"))
    command = re.search(r"camelid compat uniform_finetune (.*?--epochs 1)", comments, re.DOTALL)
    arguments = shlex.split(command[1].replace("\\\n", " "))
    meant = Recipe.model_validate(
        {
            section: {key: value for key, value in fields.items() if value is not None}
            for section, fields in read(arguments).values.items()
        }
    )
    given = load(Recipe, path)
    counted = {"train": {"save_steps", "log_steps", "best"}, "eval": {"steps"}}
    assert given.model_dump(exclude=counted) == meant.model_dump(exclude=counted)
