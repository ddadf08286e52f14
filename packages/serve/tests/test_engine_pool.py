"""Models are loaded and unloaded, and those that stay resident are not loaded again."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from camelid_core.artefacts import BaseModelEntry, Manifest, write_manifest
from camelid_core.errors import ModelError, UnknownName, UsageError
from camelid_core.plugins import load_host
from camelid_core.testing import tiny_model
from camelid_serve.config import EngineConfig
from camelid_serve.engine import CannotShare, Request, Sampling
from camelid_serve.loaded_models import LoadedModel, LoadedModels


@pytest.fixture
def loaded_models() -> Iterator[LoadedModels]:
    loaded_models = LoadedModels()
    yield loaded_models
    loaded_models.close()


@pytest.fixture(scope="module")
def ia3(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that PEFT cannot put beside LoRA's."""
    from peft import IA3Config, get_peft_model
    from transformers import AutoModelForCausalLM

    config = IA3Config(target_modules=["k_proj"], feedforward_modules=[], task_type="CAUSAL_LM", init_ia3_weights=False)
    directory = tmp_path_factory.mktemp("ia3")
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(directory)
    return directory


def answer_ids(loaded: LoadedModel, tokens: int = 5) -> list[int]:
    request = Request([5, 6, 7], Sampling(max_new_tokens=tokens), loaded.adapter)
    return [event.token for event in loaded.engine.stream([request]) if event.token is not None]


def test_loaded_models_are_not_loaded_again(
    loaded_models: LoadedModels, base: Path, adapter: Path, tmp_path: Path
) -> None:
    host = load_host()
    loaded_models.load({"bare": str(base)}, host)
    engine, alone = loaded_models.models["bare"].engine, answer_ids(loaded_models.models["bare"])
    running = engine.stream([Request([5], Sampling(max_new_tokens=100))])
    loaded_models.load({"tuned": str(adapter)}, host)
    tuned = loaded_models.models["tuned"]
    assert tuned.engine is engine
    assert answer_ids(tuned) != alone
    assert sum(event.token is not None for event in running) == 100
    loaded_models.load({"tuned": str(adapter), "bare": str(base)}, host, EngineConfig(template="vicuna"))
    again = loaded_models.models["tuned"]
    assert (again.engine, again.adapter, again.template.name) == (engine, tuned.adapter, "vicuna")
    assert answer_ids(loaded_models.models["bare"]) == alone
    loaded_models.load({"bare": str(base)}, host)
    assert engine.adapters == ()
    loaded_models.add("tuned", str(adapter), host)
    loaded_models.models["bare"].engine.close()  # as one does whose thread has come to an end
    loaded_models.load({"bare": str(base)}, host)
    assert answer_ids(loaded_models.models["bare"]) == alone
    loaded_models.load({"bare": str(base)}, host, EngineConfig(slots=3))
    assert loaded_models.models["bare"].engine is not engine
    with pytest.raises(ModelError, match="unloaded"):
        engine.stream([Request([5])])
    with pytest.raises(UnknownName):
        loaded_models.load({"bare": str(base), "other": "no-such-model"}, host)
    assert loaded_models.models == {}


def test_a_model_that_changed_on_disk_is_loaded_again(loaded_models: LoadedModels, base: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(base, tmp_path / "model")
    (directory / "gone.json").symlink_to("nowhere")  # no file, as in a cache from which blobs were deleted
    loaded_models.load({"m": str(directory)}, load_host())
    before = answer_ids(loaded_models.models["m"])
    tiny_model(directory, seed=9)
    loaded_models.load({"m": str(directory)}, load_host())
    assert answer_ids(loaded_models.models["m"]) != before


def test_an_added_model_shares_a_base_or_has_its_own(
    loaded_models: LoadedModels, base: Path, adapter: Path, ia3: Path, tmp_path: Path
) -> None:
    host = load_host()
    loaded_models.load({"bare": str(base)}, host)
    engine = loaded_models.models["bare"].engine
    loaded_models.add("tuned", str(adapter), host, share=True)
    with pytest.raises(UsageError, match="'tuned' already"):
        loaded_models.add("tuned", str(adapter), host)
    other = tiny_model(tmp_path / "other", seed=3)
    for name, words in ((str(other), "no model is resident"), (str(ia3), "kinds IA3 and LORA")):
        with pytest.raises(CannotShare, match=words):
            loaded_models.add("more", name, host, share=True)
    tuned_name = loaded_models.models["tuned"].adapter
    assert (list(loaded_models.models), engine.adapters) == (["bare", "tuned"], (tuned_name,))
    loaded_models.add("other", str(other), host)
    loaded_models.add("scaled", str(ia3), host)
    engines = {label: each.engine for label, each in loaded_models.models.items()}
    assert engines["bare"] is engines["tuned"] is engine
    assert len(set(engines.values())) == 3
    assert len({tuple(answer_ids(loaded_models.models[label])) for label in ("bare", "tuned", "other")}) == 3
    with pytest.raises(CannotShare, match="'other' is all that is served of its base"):
        loaded_models.remove("other", share=True)
    assert "other" in loaded_models.models
    gone = weakref.ref(loaded_models.models["other"].engine)
    engines.clear()
    loaded_models.remove("tuned", share=True)
    for label in ("scaled", "other"):
        loaded_models.remove(label)
    with pytest.raises(UnknownName, match="other"):
        loaded_models.remove("other")
    gc.collect()
    assert gone() is None
    assert engine.adapters == ()
    loaded_models.add("scaled", str(ia3), host, share=True)
    assert loaded_models.models["scaled"].engine is engine


def test_an_adapter_of_another_base_is_refused_with_the_reason(
    loaded_models: LoadedModels, base: Path, adapter: Path, tmp_path: Path
) -> None:
    foreign = shutil.copytree(adapter, tmp_path / "foreign")
    origin = BaseModelEntry(id="another", path=str(base), fingerprint="0" * 64)
    write_manifest(foreign, Manifest(kind="adapter", base=origin))
    loaded_models.load({"bare": str(base)}, load_host())
    with pytest.raises(ModelError, match="trained on another base"):
        loaded_models.add("foreign", str(foreign), load_host(), share=True)
    moved = shutil.copytree(adapter, tmp_path / "moved")
    config = json.loads((moved / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = str(tiny_model(tmp_path / "twin"))
    (moved / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(CannotShare, match="no model is resident"):
        loaded_models.add("moved", str(moved), load_host(), share=True)
    assert list(loaded_models.models) == ["bare"]
