"""From a name to an engine under the right template."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from camelid_core.artefacts import BaseModelEntry, Manifest, write_manifest
from camelid_core.errors import ArtefactError, ModelError, UnknownName
from camelid_core.integrity import fingerprint
from camelid_core.plugins import load_host
from camelid_core.records import Message
from camelid_core.template_contract import make_contract
from camelid_serve.config import EngineConfig
from camelid_serve.loaded_models import LoadedModel, load_model


def test_stops_come_from_model_tokenizer_and_template(tiny: LoadedModel) -> None:
    eos = tiny.encoder.tokenizer.eos_token_id
    assert eos in tiny.stops
    assert tiny.stop_texts == tiny.template.stops
    chatml = tiny.with_template(load_host().templates["chatml"])
    assert chatml.engine is tiny.engine
    assert chatml.stop_texts == ()
    assert chatml.encoder.tokenizer.convert_tokens_to_ids("<|im_end|>") in chatml.stops


def test_an_override_is_recorded(tiny: LoadedModel) -> None:
    assert tiny.contract().overrides == ""
    other = tiny.with_template(load_host().templates["vicuna"])
    assert (other.contract().name, other.contract().overrides) == ("vicuna", "alpaca")


def test_unknown_names_are_said(base: Path) -> None:
    with pytest.raises(UnknownName, match="alpaca"):
        load_model(str(base), load_host(), EngineConfig(template="alpacca"))
    with pytest.raises(UnknownName, match="transformers"):
        load_model(str(base), load_host(), EngineConfig(engine="transformer"))


def test_an_artefact_brings_its_template_and_holds_it_to_its_ids(
    adapter: Path, base: Path, tiny: LoadedModel, tmp_path: Path
) -> None:
    directory = tmp_path / "artefact"
    shutil.copytree(adapter, directory)
    contract = make_contract(load_host().templates["vicuna"], tiny.encoder.tokenizer)
    origin = BaseModelEntry(id="tiny", path=str(base), fingerprint=fingerprint(base))
    write_manifest(directory, Manifest(kind="adapter", base=origin, template=contract))
    loaded = load_model(str(directory), load_host())
    loaded.close()
    assert loaded.template.name == "vicuna"
    assert loaded.adapter == "default"

    damaged = json.loads((directory / "camelid.json").read_text(encoding="utf-8"))
    damaged["template"]["reference_ids"][3] += 1
    (directory / "camelid.json").write_text(json.dumps(damaged), encoding="utf-8")
    with pytest.raises(ArtefactError, match="other tokens"):
        load_model(str(directory), load_host())
    load_model(str(directory), load_host(), EngineConfig(template="alpaca")).close()


def test_recommended_sampling_is_the_makers(base: Path, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    shutil.copytree(base, directory)
    settings = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "eos_token_id": [3, 9]}
    (directory / "generation_config.json").write_text(json.dumps(settings), encoding="utf-8")
    loaded = load_model(str(directory), load_host())
    loaded.close()
    assert (loaded.sampling.temperature, loaded.sampling.top_p) == (0.6, 0.9)
    assert {3, 9} <= loaded.stops


def test_what_cannot_fit_is_refused_before_it_is_encoded(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    longest = max(map(len, tiny.encoder.tokenizer.get_vocab()))
    fits = longest * tiny.engine.context_length - 1
    tiny.check_length(fits)
    monkeypatch.setattr(type(tiny.encoder), "prompt_ids", lambda *_: pytest.fail("it was encoded"))
    with pytest.raises(ModelError, match="at least 512 tokens"):
        tiny.prompt_ids([Message("user", "x" * fits, "x")])


def test_prompt_ids_are_the_encoders(tiny: LoadedModel) -> None:
    messages = [Message("user", "What is 2 + 3?")]
    assert tiny.prompt_ids(messages) == tiny.encoder.prompt_ids(messages)
