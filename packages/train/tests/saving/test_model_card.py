"""The card of a published adapter or model is true, says how to load it, and shows no path of this machine."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml
from camelid_core.artefacts import read_artefact
from camelid_core.paths import models_dir
from camelid_train.export.merge import merge
from camelid_train.export.merge_config import MergeConfig
from camelid_train.run import train
from camelid_train.saving.model_card import hub_id_of

TEXT = {".json", ".md", ".jinja"}


def published_texts(directory):
    """Every text that is published save the manifest, which is how this machine finds the base again."""
    return {
        path.name: path.read_text(encoding="utf-8")
        for path in directory.rglob("*")
        if path.suffix in TEXT and path.name != "camelid.json"
    }


@pytest.fixture
def pulled(base, home):
    """The Hub id of a model that was pulled, with its makers' own card."""
    directory = shutil.copytree(base(), models_dir() / "someone--tiny")
    (directory / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# Tiny\n")
    return "someone/tiny"


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_card_names_the_hub_id_and_no_path(attempt, recipe, pulled, home, method):
    run = attempt()
    train(recipe("train.max_steps=2", f"model.name={pulled}", f"method.type={method}"), run)
    outputs = [run.output]
    if method == "lora":
        merging = attempt(job=2)
        merge(MergeConfig(adapter=str(run.output)), merging)
        outputs.append(merging.output)
        settings = json.loads((run.output / "adapter_config.json").read_text())
        assert settings["base_model_name_or_path"] == pulled
    for output in outputs:
        texts = published_texts(output)
        assert not [name for name, text in texts.items() if str(home.parent) in text]
        card = texts["README.md"]
        assert f"base_model: {pulled}" in card
        assert "sums.jsonl: 40 rows" in card or "sums.jsonl: 36 rows" in card
        assert "## Metrics" in card
        assert ("@article{hu2021lora," in card) == (method == "lora")
        head = yaml.safe_load(card.split("---")[1])
        assert (head["license"], head["license_name"]) == ("other", "cc-by-nc-4.0 AND unknown")
        assert "Licence of the result: cc-by-nc-4.0 AND unknown (no commercial use)" in card
        assert read_artefact(output).manifest.licences.non_commercial is True
        adapter = output == run.output and method == "lora"
        assert "GenerationConfig.from_pretrained(" + ("adapter)" if adapter else "model_path)") in card
        assert "More Information Needed" not in card


def test_a_base_without_a_hub_id_is_named_by_its_directory(attempt, recipe, base):
    run = attempt()
    train(recipe("train.max_steps=1"), run)
    card = (run.output / "README.md").read_text()
    assert str(base().parent) not in card
    assert f"Base model: {base().name} " in card
    assert "base_model:" not in card


def test_a_relative_path_is_no_hub_id(tmp_path, monkeypatch):
    from camelid_core.artefacts import BaseModelEntry, Manifest

    monkeypatch.chdir(tmp_path)
    manifest = Manifest(kind="adapter", base=BaseModelEntry(id="models/mine"))
    assert hub_id_of(manifest) == "models/mine"
    (tmp_path / "models/mine").mkdir(parents=True)
    assert hub_id_of(manifest) == ""
