"""From a name to an engine under the right template."""

from __future__ import annotations

import json
import shutil
import types
from pathlib import Path
from typing import Any

import pytest
from camelid_core import hookimpl
from camelid_core.artefacts import BaseModelEntry, Manifest, write_manifest
from camelid_core.errors import ArtefactError, ConfigError, ModelError, UnknownName
from camelid_core.integrity import fingerprint
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import Host, Plugin, load_host
from camelid_core.records import Message
from camelid_core.template_contract import make_contract
from camelid_core.templates.role_template import RoleTemplate
from camelid_serve.config import EngineConfig
from camelid_serve.engine import Sampling
from camelid_serve.generation_config import recommended_sampling, unused_settings
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


def with_generation_config(base: Path, directory: Path, settings: dict[str, Any]) -> Path:
    shutil.copytree(base, directory, dirs_exist_ok=True)
    (directory / "generation_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return directory


@pytest.mark.parametrize(
    ("settings", "sampling", "unused"),
    [
        ({"repetition_penalty": 1.3}, Sampling(repetition_penalty=1.3), []),
        ({"do_sample": False, "no_repeat_ngram_size": 2, "top_k": 5}, Sampling(no_repeat_ngram_size=2), []),
        ({"do_sample": True, "min_p": 0.9}, Sampling(temperature=1, min_p=0.9), []),
        ({"do_sample": True, "top_k": -1, "top_p": 0}, Sampling(temperature=1, top_p=0), []),
        ({"num_beams": 4, "typical_p": 1.0}, Sampling(), ["num_beams 4"]),
        ({"typical_p": 0.9, "suppress_tokens": [7]}, Sampling(), ["typical_p 0.9", "suppress_tokens [7]"]),
        ({"do_sample": None, "min_length": 0, "guidance_scale": None}, Sampling(), []),
    ],
)
def test_a_generation_config_is_followed_or_named(
    base: Path, tmp_path: Path, settings: dict[str, Any], sampling: Sampling, unused: list[str]
) -> None:
    resolved = resolve_model(str(with_generation_config(base, tmp_path / "model", settings)), load_host())
    assert recommended_sampling(resolved) == sampling
    sentence = unused_settings(resolved)
    assert sentence.rpartition(": ")[2].rstrip(".") == ", ".join(unused)


@pytest.mark.parametrize("wrong", [{"top_p": 3}, {"top_k": -5}, {"temperature": "hot"}, {"min_p": -1}])
def test_a_generation_config_that_is_not_valid_is_refused_by_name(
    base: Path, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    directory = with_generation_config(base, tmp_path / "model", {"do_sample": True} | wrong)
    with pytest.raises(ConfigError, match=rf"(?s)generation_config\.json.*{next(iter(wrong))}") as refused:
        recommended_sampling(resolve_model(str(directory), load_host()))
    assert "Traceback" not in str(refused.value)


def test_what_is_not_followed_is_said_once_while_a_model_loads(base: Path, tmp_path: Path) -> None:
    said: list[str] = []
    directory = with_generation_config(base, tmp_path / "model", {"num_beams": 4})
    load_model(str(directory), load_host(), report=said.append).close()
    assert sum("num_beams 4" in line for line in said) == 1


def test_another_version_of_the_templates_plugin_is_said_while_a_model_loads(
    adapter: Path, base: Path, tiny: LoadedModel, tmp_path: Path
) -> None:
    module = types.ModuleType("mine")
    mine = RoleTemplate("mine", "x", user="{content}", assistant=">")
    module.camelid_prompt_templates = hookimpl(lambda: [mine], specname="camelid_prompt_templates")  # type: ignore[attr-defined]
    host = Host()
    host.load([*load_host().plugins, Plugin("camelid-mine", "2.0", module)])
    directory = tmp_path / "artefact"
    shutil.copytree(adapter, directory)
    contract = make_contract(mine, tiny.encoder.tokenizer)
    origin = BaseModelEntry(id="tiny", path=str(base), fingerprint=fingerprint(base))
    manifest = Manifest(kind="adapter", base=origin, template=contract, plugins={"camelid-mine": "1.0"})
    write_manifest(directory, manifest)
    said: list[str] = []
    load_model(str(directory), host, report=said.append).close()
    (note,) = [line for line in said if "camelid-mine" in line]
    assert "was made with the template 'mine' of camelid-mine 1.0, and camelid-mine 2.0 is installed here" in note


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
