"""`camelid models`."""

from __future__ import annotations

import json
import re

import pytest
from camelid_core.paths import artefacts_dir, models_dir
from camelid_core.testing import tiny_model


def test_list_has_families_known_models_and_what_is_here(camelid):
    before = camelid("models", "list", "--json").json
    assert {"llama", "bloom"} <= {family["family"] for family in before["families"]}
    assert [row["here"] for row in before["models"] if row["model"] == "smollm2-135m"] == ["no"]
    (models_dir() / "smollm2-135m").mkdir(parents=True)
    (artefacts_dir() / "my-run").mkdir(parents=True)
    (artefacts_dir() / ".partial").mkdir()
    after = {row["model"]: row for row in camelid("models", "list", "--json").json["models"]}
    assert after["smollm2-135m"]["here"] == "yes"
    assert after["my-run"]["source"] == "made here"
    assert ".partial" not in after
    table = camelid("models", "list").out
    assert "Families: llama, " in table
    assert "my-run" in table


def test_families_say_what_they_can_which_test_shows_it_and_where_they_came_from(camelid):
    rows = {row["family"]: row for row in camelid("models", "families", "--json").json}
    falcon = rows["falcon"]
    assert (falcon["from"], falcon["model_types"], falcon["template"]) == ("camelid-core", ["falcon"], "alpaca")
    assert falcon["capabilities"]["lora"]["state"] == "verified"
    assert falcon["capabilities"]["lora"]["tests"] == [
        "tests/test_families.py::test_a_family_is_trained_merged_and_asked"
    ]
    assert falcon["capabilities"]["qlora"]["state"] == "refused"
    assert "bitsandbytes" in falcon["capabilities"]["qlora"]["why_not"]
    assert rows["llama"]["short_names"]["llama_7b"] == "decapoda-research/llama-7b-hf"
    table = camelid("models", "families").out
    assert re.search(r"^bloom +camelid-core +bloom +verified", table, re.MULTILINE)


def test_show_says_what_the_family_cannot_do_and_why(camelid, tmp_path):
    row = camelid("models", "show", tiny_model(tmp_path / "tiny", "bloom"), "--json").json
    assert "ALiBi" in row["refused"]["long-context"]


def test_show_tells_where_a_model_is_and_of_what_family(camelid, tmp_path):
    path = tiny_model(tmp_path / "tiny", "persimmon")
    row = camelid("models", "show", path, "--json").json
    assert (row["base"], row["family"], row["lora_targets"]) == (str(path), "unknown", "inferred")
    assert re.search(rf"^base +{re.escape(str(path))}$", camelid("models", "show", path).out, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "code", "sentence"),
    [
        ("smollm2-135n", 2, "Did you mean 'smollm2-135m'? `camelid models list` shows all"),
        ("smollm2-135m", 1, "type `camelid models pull smollm2-135m`"),
    ],
)
def test_a_model_that_is_not_here_says_what_to_type(camelid, name, code, sentence):
    ran = camelid("models", "show", name)
    assert ran.code == code
    assert sentence in ran.err


def test_pull_of_what_is_here_does_nothing(camelid):
    (models_dir() / "smollm2-135m").mkdir(parents=True)
    ran = camelid("models", "pull", "smollm2-135m")
    assert ran.out == f"{models_dir() / 'smollm2-135m'}\n"
    assert "already here" in ran.err


@pytest.mark.parametrize("targets", [["v_proj", "gate_proj"], "all-linear"])
def test_show_names_the_layers_of_the_adapter(camelid, tmp_path, targets):
    base = tiny_model(tmp_path / "tiny")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    settings = {"base_model_name_or_path": str(base), "target_modules": targets}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    shown = camelid("models", "show", adapter, "--json").json["lora_targets"]
    assert shown == ([targets] if isinstance(targets, str) else sorted(targets))


@pytest.mark.parametrize("key", ["rope_parameters", "rope_scaling"])
@pytest.mark.parametrize(("kind", "positions"), [("linear", 512), ("yarn", 512), ("dynamic", 2048)])
def test_show_names_the_stretch(camelid, tmp_path, key, kind, positions):
    path = tiny_model(tmp_path / "tiny")
    config = json.loads((path / "config.json").read_text())
    config.pop("rope_parameters", None)
    scaling = {"rope_type": kind, "factor": 4.0, "rope_theta": 10000.0}
    (path / "config.json").write_text(json.dumps(config | {key: scaling, "max_position_embeddings": 512}))
    row = camelid("models", "show", path, "--json").json
    assert row["rope"] == f"{kind}, factor 4, {positions} positions"
    assert "rope_scaling" in row["loading"]
