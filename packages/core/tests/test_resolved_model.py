"""From a name a person types to a model on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from camelid_core.artefacts import BaseModelEntry, Licences, Manifest, TemplateContract, write_manifest
from camelid_core.errors import ModelError, UnknownName
from camelid_core.models.adapters import UNKNOWN
from camelid_core.models.resolved_model import pullable_models, read_config, resolve_model
from camelid_core.paths import artefacts_dir, models_dir
from camelid_core.plugins import load_host


def make_model(path: Path, model_type: str = "llama", **config) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"model_type": model_type, **config}))
    return path


def make_adapter(path: Path, base: str, manifest: Manifest | None = None) -> Path:
    path.mkdir(parents=True)
    (path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    if manifest is not None:
        write_manifest(path, manifest)
    return path


def resolve(name: object):
    return resolve_model(str(name), load_host())


def test_a_directory_is_a_model_of_the_family_its_config_names(home, tmp_path):
    path = make_model(tmp_path / "mine", "bloom", n_layer=2)
    resolved = resolve(path)
    assert (resolved.base, resolved.adapter.name, resolved.adapter_dir) == (path, "bloom", None)
    assert resolved.config["n_layer"] == 2
    assert (resolved.licence, resolved.template) == ("unknown", "alpaca")


def test_an_architecture_nobody_claims_is_taken_all_the_same(home, tmp_path):
    assert resolve(make_model(tmp_path / "mine", "zebra")).adapter is UNKNOWN


def test_a_pulled_model_is_found_by_its_registered_name_with_licence_and_template(home):
    path = make_model(models_dir() / "smollm2-135m")
    resolved = resolve("smollm2-135m")
    assert (resolved.base, resolved.licence, resolved.template) == (path, "apache-2.0", "chatml")
    assert resolved.base_id == "HuggingFaceTB/SmolLM2-135M-Instruct"


def test_a_directory_in_the_way_does_not_hide_a_registered_model(home):
    make_model(Path("smollm2-135m"), "bloom")
    with pytest.raises(ModelError, match=r"is not here yet; type `camelid models pull smollm2-135m`"):
        resolve("smollm2-135m")


def test_an_artefact_is_found_by_its_name(home):
    path = make_model(artefacts_dir() / "my-run")
    contract = TemplateContract(name="vicuna", jinja="", sha256="")
    base = BaseModelEntry(id="org/base")
    write_manifest(path, Manifest(kind="model", template=contract, base=base, licences=Licences(effective="mit")))
    resolved = resolve("my-run")
    assert (resolved.template, resolved.licence, resolved.base_id) == ("vicuna", "mit", "org/base")


def test_an_adapter_is_found_with_its_base(home, tmp_path):
    base = make_model(tmp_path / "base", "bloom")
    plain = resolve(make_adapter(tmp_path / "plain", str(base)))
    assert (plain.adapter_dir, plain.base, plain.adapter.name) == (tmp_path / "plain", base, "bloom")
    manifest = Manifest(kind="adapter", base=BaseModelEntry(id="nowhere/known", path=str(base)))
    moved = resolve(make_adapter(tmp_path / "moved", "/gone", manifest))
    assert moved.base == base
    assert moved.manifest == moved.manifest.model_copy()


def test_an_adapter_without_its_base_says_which_one_it_needs(home, tmp_path):
    with pytest.raises(ModelError, match="needs its base model '/gone/base', which is not here; pull or copy it first"):
        resolve(make_adapter(tmp_path / "adapter", "/gone/base"))


def test_an_adapter_on_an_adapter_is_refused(home, tmp_path):
    base = make_model(tmp_path / "base")
    first = make_adapter(tmp_path / "first", str(base))
    with pytest.raises(ModelError, match=r"'.*first', which is an adapter itself; merge that one first"):
        resolve(make_adapter(tmp_path / "second", str(first)))
    with pytest.raises(ModelError, match="which is an adapter itself"):
        resolve(make_adapter(tmp_path / "self", str(tmp_path / "self")))


def test_a_hub_id_says_how_to_get_it(home):
    with pytest.raises(ModelError, match=r"type `camelid models pull org/model` to get it from the Hub"):
        resolve("org/model")


def test_an_unknown_name_suggests_what_is_registered_or_here(home):
    make_model(artefacts_dir() / "my-run")
    for near, known in (("smolm2-135m", "smollm2-135m"), ("my-rum", "my-run")):
        with pytest.raises(UnknownName, match=rf"model or artefact '{near}' is not known\. Did you mean '{known}'\?"):
            resolve(near)


def test_a_directory_that_holds_neither_is_a_sentence(home, tmp_path):
    with pytest.raises(
        ModelError, match=r"is neither a model \(config\.json\) nor an adapter \(adapter_config\.json\)"
    ):
        resolve(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 200_000, '"llama"'])
@pytest.mark.parametrize("name", ["config.json", "adapter_config.json"])
def test_a_damaged_configuration_is_a_sentence(home, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(ModelError, match=rf"{name}' (cannot be read|must hold a JSON object)"):
        resolve(tmp_path)


@pytest.mark.parametrize(
    "config",
    [
        {"auto_map": {"AutoModel": "evil.Model"}},
        {"text_config": {"auto_map": {}}},
        {"layers": [{"trust_remote_code": True}]},
        {"_attn_implementation_internal": "someone/kernel"},
    ],
)
def test_a_configuration_that_would_run_code_is_refused(home, tmp_path, config):
    path = make_model(tmp_path / "evil", **config)
    with pytest.raises(ModelError, match=r"is refused: .* in its config\.json would run code that came with the model"):
        read_config(path)
    with pytest.raises(ModelError, match="is refused"):
        resolve(path)


def test_every_model_that_can_be_pulled_has_a_name_of_its_own():
    pullable = [item for adapter in load_host().adapters for item in adapter.pullable]
    assert len(pullable_models(load_host().adapters)) == len(pullable)


def test_a_directory_of_several_models_is_refused_with_their_names(tmp_path):
    for name in ("main", "other"):
        make_model(tmp_path / "set" / name)
    with pytest.raises(ModelError, match=r"holds several models: main, other\. Name one: .*set/other"):
        resolve(tmp_path / "set")
    assert resolve(tmp_path / "set" / "main").base == tmp_path / "set" / "main"
