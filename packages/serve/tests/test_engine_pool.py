"""Models come and go, and what stays resident is not loaded again."""

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
def residents() -> Iterator[LoadedModels]:
    residents = LoadedModels()
    yield residents
    residents.close()


@pytest.fixture(scope="module")
def ia3(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that PEFT cannot put beside LoRA's."""
    from peft import IA3Config, get_peft_model
    from transformers import AutoModelForCausalLM

    config = IA3Config(target_modules=["k_proj"], feedforward_modules=[], task_type="CAUSAL_LM", init_ia3_weights=False)
    directory = tmp_path_factory.mktemp("ia3")
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(directory)
    return directory


def said(loaded: LoadedModel, tokens: int = 5) -> list[int]:
    request = Request([5, 6, 7], Sampling(max_new_tokens=tokens), loaded.adapter)
    return [event.token for event in loaded.engine.stream([request]) if event.token is not None]


def test_what_is_there_and_still_wanted_stays(
    residents: LoadedModels, base: Path, adapter: Path, tmp_path: Path
) -> None:
    host = load_host()
    residents.load({"bare": str(base)}, host)
    engine, alone = residents.models["bare"].engine, said(residents.models["bare"])
    running = engine.stream([Request([5], Sampling(max_new_tokens=100))])
    residents.load({"tuned": str(adapter)}, host)
    tuned = residents.models["tuned"]
    assert tuned.engine is engine
    assert said(tuned) != alone
    assert sum(event.token is not None for event in running) == 100
    residents.load({"tuned": str(adapter), "bare": str(base)}, host, EngineConfig(template="vicuna"))
    again = residents.models["tuned"]
    assert (again.engine, again.adapter, again.template.name) == (engine, tuned.adapter, "vicuna")
    assert said(residents.models["bare"]) == alone
    residents.load({"bare": str(base)}, host)
    assert engine.adapters == ()
    residents.add("tuned", str(adapter), host)
    residents.models["bare"].engine.close()  # as one does whose thread has come to an end
    residents.load({"bare": str(base)}, host)
    assert said(residents.models["bare"]) == alone
    residents.load({"bare": str(base)}, host, EngineConfig(slots=3))
    assert residents.models["bare"].engine is not engine
    with pytest.raises(ModelError, match="unloaded"):
        engine.stream([Request([5])])
    with pytest.raises(UnknownName):
        residents.load({"bare": str(base), "other": "no-such-model"}, host)
    assert residents.models == {}


def test_what_was_written_anew_is_loaded_anew(residents: LoadedModels, base: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(base, tmp_path / "model")
    (directory / "gone.json").symlink_to("nowhere")  # no file, as in a cache from which blobs were deleted
    residents.load({"m": str(directory)}, load_host())
    before = said(residents.models["m"])
    tiny_model(directory, seed=9)
    residents.load({"m": str(directory)}, load_host())
    assert said(residents.models["m"]) != before


def test_one_more_shares_a_base_or_has_its_own(
    residents: LoadedModels, base: Path, adapter: Path, ia3: Path, tmp_path: Path
) -> None:
    host = load_host()
    residents.load({"bare": str(base)}, host)
    engine = residents.models["bare"].engine
    residents.add("tuned", str(adapter), host, share=True)
    with pytest.raises(UsageError, match="'tuned' already"):
        residents.add("tuned", str(adapter), host)
    other = tiny_model(tmp_path / "other", seed=3)
    for name, words in ((str(other), "no model is resident"), (str(ia3), "kinds IA3 and LORA")):
        with pytest.raises(CannotShare, match=words):
            residents.add("more", name, host, share=True)
    assert (list(residents.models), engine.adapters) == (["bare", "tuned"], (residents.models["tuned"].adapter,))
    residents.add("other", str(other), host)
    residents.add("scaled", str(ia3), host)
    engines = {label: each.engine for label, each in residents.models.items()}
    assert engines["bare"] is engines["tuned"] is engine
    assert len(set(engines.values())) == 3
    assert len({tuple(said(residents.models[label])) for label in ("bare", "tuned", "other")}) == 3
    with pytest.raises(CannotShare, match="'other' is all that is served of its base"):
        residents.remove("other", share=True)
    assert "other" in residents.models
    gone = weakref.ref(residents.models["other"].engine)
    engines.clear()
    residents.remove("tuned", share=True)
    for label in ("scaled", "other"):
        residents.remove(label)
    with pytest.raises(UnknownName, match="other"):
        residents.remove("other")
    gc.collect()
    assert gone() is None
    assert engine.adapters == ()
    residents.add("scaled", str(ia3), host, share=True)
    assert residents.models["scaled"].engine is engine


def test_an_adapter_of_another_base_is_refused_with_the_reason(
    residents: LoadedModels, base: Path, adapter: Path, tmp_path: Path
) -> None:
    foreign = shutil.copytree(adapter, tmp_path / "foreign")
    origin = BaseModelEntry(id="another", path=str(base), fingerprint="0" * 64)
    write_manifest(foreign, Manifest(kind="adapter", base=origin))
    residents.load({"bare": str(base)}, load_host())
    with pytest.raises(ModelError, match="trained on another base"):
        residents.add("foreign", str(foreign), load_host(), share=True)
    moved = shutil.copytree(adapter, tmp_path / "moved")
    config = json.loads((moved / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = str(tiny_model(tmp_path / "twin"))
    (moved / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(CannotShare, match="no model is resident"):
        residents.add("moved", str(moved), load_host(), share=True)
    assert list(residents.models) == ["bare"]
