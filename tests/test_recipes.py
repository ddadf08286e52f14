"""The mixtures that ship as recipes: complete, and every name in them means something."""

from __future__ import annotations

from pathlib import Path

import pytest
from camelid_core.config import load
from camelid_core.datasets.sources import open_dataset, parse_sources
from camelid_core.plugins import load_host
from camelid_core.quality import LINTS
from camelid_train.config import Recipe

RECIPES = [Path(__file__).parent.parent / f"examples/recipes/{name}.toml" for name in ("supercot", "tulu")]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_names_datasets_templates_and_lints_that_are_there(path):
    recipe, host = load(Recipe, path), load_host()
    sources = parse_sources(recipe.data.sources, host.datasets)
    assert all(open_dataset(source.name, host.datasets).name == source.name for source in sources)
    assert set(recipe.data.caps) <= {source.name for source in sources}
    assert set(recipe.data.drop_lints) <= set(LINTS)
    assert recipe.data.template in host.templates


def test_supercot_and_tulu_are_what_their_makers_published():
    supercot, tulu = (load(Recipe, path) for path in RECIPES)
    assert supercot.data.sources == ["cot-qed", "cot-aqua", "code-alpaca", "conala", "alpaca-gpt4"]
    assert (supercot.method.r, supercot.method.targets) == (8, ["q_proj", "v_proj"])
    assert len(tulu.data.sources) == 7
    assert tulu.data.caps == {"flan-v2": 100_000}
    assert (tulu.train.learning_rate, tulu.train.epochs, tulu.data.cutoff) == (2e-5, 2, 2048)
    assert tulu.train.batch_size * tulu.train.accumulation == 128
    assert (tulu.method.r, tulu.method.alpha) == (256, 256)
