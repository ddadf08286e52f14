"""The recipe: every field explained, bounded, and the same wherever it is read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from camelid_core.config import Config, load, validate
from camelid_core.errors import ConfigError
from camelid_core.paths import safe_name
from camelid_train.config import Recipe
from camelid_train.export.merge_config import MergeConfig
from camelid_train.methods.registry import methods
from hypothesis import given
from hypothesis import strategies as st


def sections() -> list[type[Config]]:
    plain = [field.annotation for name, field in Recipe.model_fields.items() if name not in ("method", "objective")]
    return [MergeConfig, *plain, *Recipe.forms("method"), *Recipe.forms("objective")]


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.__name__)
def test_every_field_explains_itself_in_sentences(section):
    for name, field in section.model_fields.items():
        if name != "type":
            assert field.description, name
            assert field.description.endswith("."), name


def test_the_defaults_are_a_whole_recipe():
    assert Recipe.model_validate(Recipe().model_dump(mode="json")) == Recipe()
    assert Recipe().model.name == "smollm2-135m"


def test_a_recipe_reads_and_overrides(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text('[data]\nsources = ["cot-arithmetic:0.5"]\n[train]\nlearning_rate = 1e-4\n')
    recipe = load(Recipe, path, ["train.max_steps=5", "method.r=4"])
    assert (recipe.train.learning_rate, recipe.train.max_steps, recipe.method.r) == (1e-4, 5, 4)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("train.learning_rate=10", "less than 10"),
        ("train.epochs=0", "greater than 0"),
        ("train.batch_size=0", "greater than or equal to 1"),
        ("data.cutoff=8", "greater than or equal to 16"),
        ("method.dropout=1", "less than 1"),
        ("train.schedule=round", "'linear', 'cosine' or 'constant'"),
        ("model.dtype=int4", "'auto', 'float32', 'bfloat16' or 'float16'"),
        ("launch.processes=0", "greater than or equal to 1"),
        ("method.rank=4", r"unknown key for 'lora'. Did you mean 'ranks'\? Known: alpha, dora, dropout"),
        ("method.type=loda", "tuning method 'loda' is not known. Did you mean 'lora'"),
        ("method=7", "a section with a type is needed"),
        ("train.lerning_rate=1", "Did you mean 'learning_rate'"),
    ],
)
def test_what_is_out_of_bounds_is_refused(override, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Recipe().with_overrides([override])


def test_another_method_starts_from_its_own_defaults():
    recipe = Recipe().with_overrides(["method.r=4"]).with_overrides(["method.type=full", "method.shard=1GB"])
    assert recipe.method.model_dump() == {"type": "full", "embeddings": True, "shard": "1GB"}
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_the_method_section_has_a_form_for_every_method():
    forms = Recipe.forms("method")
    assert forms[0] is type(Recipe().method)
    assert [form().type for form in forms] == methods().names()
    assert Recipe.forms("train") == []


def test_a_recipe_of_relative_paths_means_the_same_elsewhere(home, monkeypatch):
    here = Path.cwd()
    Path("mine.jsonl").touch()
    Path("model").mkdir()
    recipe = Recipe().with_overrides(
        [
            'data.sources=["mine.jsonl:0.5", "cot-arithmetic", "cot-arithmetic-zh:2"]',
            "model.name=./model",
            "train.output=./out",
        ]
    )
    anchored = recipe.with_absolute_paths()
    assert anchored.data.sources == [f"{here}/mine.jsonl:0.5", "cot-arithmetic", "cot-arithmetic-zh:2.0"]
    assert (anchored.model.name, anchored.publish_to) == (str(here / "model"), str(here / "out"))
    monkeypatch.chdir("/")
    assert anchored.with_absolute_paths() == anchored
    merge = MergeConfig(adapter="my-run", output="merged").with_absolute_paths()
    assert (merge.adapter, merge.publish_to) == ("my-run", "merged")


def test_a_name_of_the_hub_stays_one_where_something_is_called_so(home):
    sources = ["hf:a/b", "hf:a/b:0.5", "hf:a/b+hf:a/c:2.0"]
    for path in map(Path, ("hf:a/b", "hf:a/b+hf:a/c")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert Recipe.model_validate({"data": {"sources": sources}}).with_absolute_paths().data.sources == sources


@given(st.floats(0.001, 100))
def test_anchoring_keeps_a_weight_exactly(weight):
    from camelid_core.datasets.dataset import Source

    recipe = Recipe.model_validate({"data": {"sources": [f"cot-arithmetic:{weight!r}"]}}).with_absolute_paths()
    assert Source.parse(recipe.data.sources[0]).weight == weight


@given(st.text(min_size=1))
def test_a_merge_has_a_name_that_can_be_used(adapter):
    name = MergeConfig(adapter=adapter).default_name
    assert safe_name(name) == name
    assert MergeConfig(adapter=f"./{name}").default_name == f"{name[:56]}-merged"
    assert MergeConfig(adapter="./my adapter").default_name == "my-adapter-merged"


@pytest.mark.parametrize("size", ["", "4", "-1MB", "4GiB", "much"])
def test_a_shard_has_a_size(size):
    with pytest.raises(ConfigError, match=rf"shard: .*'{size}' is no size; write it like 500MB or 4GB"):
        validate(MergeConfig, {"adapter": "a", "shard": size}, "the options")


def test_reading_a_recipe_loads_no_torch():
    code = "import camelid_train.config, camelid_train.plugin, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
