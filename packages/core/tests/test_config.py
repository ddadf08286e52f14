"""Recipes: one meaning in three formats, and a message for whatever does not validate."""

from __future__ import annotations

import json
from typing import Literal

import pytest
import yaml
from camelid_core.config import Config, load, parse_overrides, parse_value, read_values, validate
from camelid_core.errors import ConfigError
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field


class Lora(Config):
    type: Literal["lora"] = "lora"
    rank: int = Field(8, ge=1)
    """Rank of the update."""


class Full(Config):
    type: Literal["full"] = "full"
    layers: int = 1


class Train(Config):
    learning_rate: float = Field(3e-4, gt=0)
    """Highest learning rate."""
    steps: int | None = None
    name: str = ""
    sources: list[str] = []


class Recipe(Config):
    train: Train = Train()
    method: Lora | Full = Field(Lora(), discriminator="type")


TOML = """
[train]
learning_rate = 3e-4
steps = 5
name = "run"
sources = ["a", "b:0.5"]
[method]
type = "lora"
rank = 4
"""
YAML = """
train: {learning_rate: 3e-4, steps: 5, name: run, sources: [a, "b:0.5"]}
method: {type: lora, rank: 4}
"""
JSON = """{"train": {"learning_rate": 3e-4, "steps": 5, "name": "run", "sources": ["a", "b:0.5"]},
"method": {"type": "lora", "rank": 4}}"""
EXPECTED = Recipe(train=Train(learning_rate=3e-4, steps=5, name="run", sources=["a", "b:0.5"]), method=Lora(rank=4))


@pytest.fixture
def file(tmp_path):
    def write(suffix: str, text: str | bytes):
        path = tmp_path / f"recipe{suffix}"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


FORMATS = [(".toml", TOML), (".yaml", YAML), (".yml", YAML), (".json", JSON)]


@pytest.mark.parametrize(("suffix", "text"), FORMATS)
def test_the_formats_mean_the_same(file, suffix, text):
    assert load(Recipe, file(suffix, text)) == EXPECTED
    assert load(Recipe, file(suffix, b"\xef\xbb\xbf" + text.encode())) == EXPECTED


@given(st.floats(1e-30, 1e30).map(lambda value: f"{value:.3e}"), st.sampled_from(["{}", "+{}"]))
def test_a_number_with_an_exponent_is_a_number_everywhere(tmp_path_factory, number, form):
    directory = tmp_path_factory.mktemp("numbers")
    (directory / "x.toml").write_text(f"value = {form.format(number)}")
    (directory / "x.yaml").write_text(f"value: {form.format(number)}")
    (directory / "x.json").write_text(f'{{"value": {number}}}')
    values = [read_values(directory / f"x{suffix}")["value"] for suffix in (".toml", ".yaml", ".json")]
    assert values == [float(number)] * 3
    assert parse_value(number) == float(number)


@pytest.mark.parametrize("text", ["3e-4", "1E5", "-2e+3", "1.e2"])
def test_yaml_reads_an_exponent_as_a_number_and_keeps_quoted_text(file, text):
    assert read_values(file(".yaml", f"value: {text}")) == {"value": float(text)}
    assert read_values(file(".yaml", f"value: '{text}'")) == {"value": text}


def test_yaml_keeps_what_only_looks_like_a_number(file):
    values = read_values(file(".yaml", "a: 12e4b67\nb: e5\nc: 1-2\nd: v1e5\n"))
    assert values == {"a": "12e4b67", "b": "e5", "c": "1-2", "d": "v1e5"}


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("train.learning_rate=1e-5", 1e-5),
        ("train.steps=7", 7),
        ("train.name=plain text", "plain text"),
        ('train.name="7"', "7"),
        ('train.sources=["a","b"]', ["a", "b"]),
        ("train.name=a=b", "a=b"),
        ("train.name=", ""),
    ],
)
def test_an_override_is_read_as_toml_or_else_as_text(file, override, value):
    key = override.partition("=")[0].partition(".")[2]
    config = load(Recipe, file(".toml", TOML), [override])
    assert getattr(config.train, key) == value
    assert getattr(Recipe().with_overrides([override]).train, key) == value


def test_the_last_override_wins_and_sections_are_made(file):
    assert parse_overrides(["a.b.c=1", "a.b.c=2", "d=x"]) == {"a": {"b": {"c": 2}}, "d": "x"}


@pytest.mark.parametrize("override", ["train.steps", "=5", ".steps=5", "train..steps=5", "train.=5"])
def test_what_is_no_override_says_how_one_looks(override):
    with pytest.raises(ConfigError, match=r"is no override; write section\.field=value"):
        parse_overrides([override])


def test_a_value_is_no_section():
    with pytest.raises(ConfigError, match="'steps' is a value, not a section"):
        parse_overrides(["steps=1", "steps.more=1"])


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("train.learning_rat=1", r"train\.learning_rat: unknown key\. Did you mean 'learning_rate'\? Known: .*steps"),
        ("trian.steps=1", r"trian: unknown key\. Did you mean 'train'\? Known: method, train"),
        ("method.rnk=1", r"method\.lora\.rnk: unknown key\. Did you mean 'rank'\? Known: rank, type"),
        ("train.learning_rate=0", r"train\.learning_rate: Input should be greater than 0 \(given: 0\)"),
        ("train.learning_rate=nan", r"train\.learning_rate: Input should be a finite number"),
        ("train.steps=soon", r"train\.steps: .*valid integer.* \(given: 'soon'\)"),
        ("method.type=magic", r"method: .*'lora', 'full'"),
        ("train=5", r"train: .*\(given: 5\)"),
    ],
)
def test_what_does_not_fit_is_named_with_what_was_given(override, sentence):
    with pytest.raises(ConfigError, match=f"(?s)the overrides: this does not fit.*{sentence}"):
        Recipe().with_overrides([override])


def test_all_faults_are_told_at_once(file):
    with pytest.raises(ConfigError) as caught:
        load(Recipe, file(".toml", "[train]\nstepps = 1\nlearning_rate = -1\n[method]\ntype = 'lora'\nrank = 0\n"))
    assert [line.strip().partition(":")[0] for line in str(caught.value).splitlines()[1:]] == [
        "train.learning_rate",
        "train.stepps",
        "method.lora.rank",
    ]


def test_a_missing_field_is_required():
    class Needs(Config):
        adapter: str

    with pytest.raises(ConfigError, match="adapter: required, but not given"):
        validate(Needs, {}, "the options")


BOMB = "a: &a [x, x]\n" + "".join(f"{y}: &{y} [*{x}, *{x}]\n" for x, y in zip("abcdefgh", "bcdefghi", strict=True))
REFUSED = {
    "alias bomb": (".yaml", BOMB, r"aliases \(\*name\) are not allowed"),
    "python object": (".yaml", "a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
    "yaml key twice": (".yaml", "a: 1\na: 2", "key 'a' stands twice"),
    "yaml nested key twice": (".yaml", "a: {b: 1, b: 2}", "key 'b' stands twice"),
    "toml key twice": (".toml", "a = 1\na = 2", "Cannot overwrite a value"),
    "json key twice": (".json", '{"a": 1, "a": 2}', "key 'a' stands twice"),
    "json nan": (".json", '{"a": NaN}', "NaN is no JSON value"),
    "yaml syntax": (".yaml", "a: [1", "is not valid YAML"),
    "toml syntax": (".toml", "a =", "is not valid TOML"),
    "json syntax": (".json", "{", "is not valid JSON"),
    "yaml depth": (".yaml", "[" * 50_000, "is not valid YAML"),
    "json depth": (".json", "[" * 200_000, "is not valid JSON"),
    "not utf-8": (".toml", b"a = '\xff'", "is not valid TOML"),
    "a list": (".json", "[1]", "must hold sections with settings, not a list"),
    "nothing": (".yaml", "", "is empty; a recipe says"),
    "too large": (".toml", "#" * 1_000_001, "is over 1 MB; a recipe is a page of settings"),
    "other suffix": (".ini", "", r"is no recipe: its name must end in \.json, \.toml, \.yaml, \.yml"),
}


@pytest.mark.parametrize(("suffix", "text", "sentence"), REFUSED.values(), ids=REFUSED)
def test_a_recipe_that_is_no_recipe_is_refused_with_the_reason(file, suffix, text, sentence):
    with pytest.raises(ConfigError, match=f"(?s){sentence}"):
        read_values(file(suffix, text))


def test_a_recipe_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.toml' cannot be read: No such file"):
        read_values(tmp_path / "gone.toml")


def test_other_yaml_loaders_are_left_as_they_were():
    assert yaml.safe_load("a: 3e-4") == {"a": "3e-4"}


def test_a_fields_docstring_is_its_help():
    assert Train.model_fields["learning_rate"].description == "Highest learning rate."


def test_a_configuration_cannot_be_changed_and_comes_back_from_json():
    with pytest.raises(ValueError, match="frozen"):
        EXPECTED.train = Train()
    assert Recipe.model_validate(json.loads(EXPECTED.model_dump_json())) == EXPECTED


def test_one_text_is_a_list_of_one():
    """So that `sources=my.jsonl` needs no brackets; a list stays as it is, a number is refused."""

    class Named(Config):
        names: list[str] = []
        """Names."""

    assert Named(names="a,b").names == ["a,b"]
    assert Named(names=["a", "b"]).names == ["a", "b"]
    assert Named().with_overrides(["names=a"]).names == ["a"]
    with pytest.raises(ConfigError):
        validate(Named, {"names": 3}, "it")
