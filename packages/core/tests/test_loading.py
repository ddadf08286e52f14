"""Tokenizers and models from a reference: safe, on the right base, in the right number format."""

from __future__ import annotations

import json
import os
import shutil
from types import SimpleNamespace

import pytest
import torch
from camelid_core.artefacts import BaseModelEntry, Manifest, write_manifest
from camelid_core.errors import ArtefactError, ModelError, UnsafeFormat
from camelid_core.integrity import fingerprint
from camelid_core.models.loading import check_adapter_base, choose_dtype, load_base, load_tokenizer, load_with_adapter
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_core.testing import tiny_model, tiny_tokenizer

OWN_CLASS = "from transformers import PreTrainedTokenizerFast\nclass Own(PreTrainedTokenizerFast): pass\n"


def resolve(path):
    return resolve_model(str(path), load_host())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A base, another of the same shape, and an adapter on the first."""
    from peft import LoraConfig, get_peft_model

    root = tmp_path_factory.mktemp("models")
    base = tiny_model(root / "base", seed=0)
    tiny_model(root / "other", seed=1)
    model = get_peft_model(
        load_base(resolve(base)), LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    )
    model.peft_config["default"].base_model_name_or_path = str(base)
    model.save_pretrained(root / "adapter")
    manifest = Manifest(kind="adapter", base=BaseModelEntry(id="base", path=str(base), fingerprint=fingerprint(base)))
    write_manifest(root / "adapter", manifest)
    return root


@pytest.fixture
def models(made, tmp_path, home):
    shutil.copytree(made, tmp_path / "models")
    return tmp_path / "models"


def test_a_tokenizer_that_is_code_is_refused_whatever_is_answered(models, monkeypatch):
    base = models / "base"
    (base / "tok.py").write_text(f"open({str(base / 'ran')!r}, 'w').close()\n{OWN_CLASS}")
    config = json.loads((base / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": [None, "tok.Own"]}}
    (base / "tokenizer_config.json").write_text(json.dumps(config))
    monkeypatch.setattr("builtins.input", lambda question="": "y")
    with pytest.raises(ModelError, match="no tokenizer that can be loaded: it would run code that came with the model"):
        load_tokenizer(resolve(base))
    assert not (base / "ran").exists()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_number_format_is_the_one_asked_for(models, dtype):
    assert next(load_base(resolve(models / "base"), dtype).parameters()).dtype == getattr(torch, dtype)


@pytest.mark.parametrize("native", [True, False])
def test_auto_is_bfloat16_only_where_the_processor_has_it(monkeypatch, native):
    monkeypatch.setattr("camelid_core.models.loading.cpu_has_bf16", lambda: native)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_dtype("auto") == (torch.bfloat16 if native else torch.float32)


@pytest.mark.parametrize(("major", "dtype"), [(7, torch.float16), (8, torch.bfloat16)])
def test_a_card_that_only_emulates_bfloat16_gets_float16(monkeypatch, major, dtype):
    for name, value in {
        "is_available": True,
        "current_device": 0,
        "get_device_properties": SimpleNamespace(major=major),
        "_check_bf16_tensor_supported": True,
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    assert choose_dtype("auto") == dtype


def test_idle_threads_sleep_wherever_torch_is_loaded():
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"


def test_an_adapter_changes_its_own_base(models):
    ids = torch.tensor([[1, 2, 3]])
    adapted = load_with_adapter(resolve(models / "adapter"), "float32")
    base = load_with_adapter(resolve(models / "base"), "float32")
    assert (adapted(input_ids=ids).logits - base(input_ids=ids).logits).abs().max() > 1e-3


def test_an_adapter_for_another_base_of_the_same_shape_is_refused(models):
    shutil.rmtree(models / "base")
    (models / "other").rename(models / "base")
    write_manifest(
        models / "adapter",
        resolve(models / "adapter").manifest.model_copy(
            update={"base": resolve(models / "adapter").manifest.base.model_copy(update={"path": str(models / "base")})}
        ),
    )
    resolved = resolve(models / "adapter")
    for load in (check_adapter_base, load_with_adapter):
        with pytest.raises(
            ModelError, match=r"was trained on another base than .*weights, configuration or tokenizer differ"
        ):
            load(resolved)


def test_pickled_weights_are_not_loaded(models):
    torch.save({}, models / "base" / "pytorch_model.bin")
    with pytest.raises(UnsafeFormat):
        load_base(resolve(models / "base"))


def test_pickled_adapters_are_not_loaded(models):
    torch.save({}, models / "adapter" / "adapter_model.bin")
    with pytest.raises(UnsafeFormat):
        load_with_adapter(resolve(models / "adapter"))


@pytest.mark.parametrize(("name", "file"), [("base", "model"), ("adapter", "adapter_model")])
def test_weights_cut_short_are_named(models, name, file):
    path = models / name / f"{file}.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ArtefactError, match=rf"'{file}\.safetensors' has .* bytes where its header needs .* damaged"):
        load_with_adapter(resolve(models / name))


def test_weights_that_are_gone_are_a_sentence(models):
    (models / "base" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be loaded: "):
        load_base(resolve(models / "base"))


def test_the_tokenizer_is_the_adapters_own_where_it_has_one(models):
    assert len(load_tokenizer(resolve(models / "adapter"))) == len(tiny_tokenizer())
    tiny_tokenizer(vocabulary=300).save_pretrained(models / "adapter")
    assert len(load_tokenizer(resolve(models / "adapter"))) == 300


def test_a_padding_token_is_made_sure_of(models):
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(models / "base")
    assert load_tokenizer(resolve(models / "base")).pad_token == "<|im_end|>"


@pytest.mark.parametrize("has_unknown", [True, False])
def test_the_familys_padding_token_is_taken_where_the_vocabulary_has_it(models, has_unknown):
    tokenizer = tiny_tokenizer(("<unk>" if has_unknown else "<|im_start|>", "<|im_end|>", "<|endoftext|>"))
    tokenizer.pad_token = None
    tokenizer.save_pretrained(models / "base")
    assert load_tokenizer(resolve(models / "base")).pad_token == ("<unk>" if has_unknown else "<|im_end|>")


def test_a_directory_without_tokenizer_is_a_sentence(models):
    for path in (models / "base").glob("*token*"):
        path.unlink()
    with pytest.raises(ModelError, match=r"has no tokenizer that can be loaded: tokenizer\.json is missing; copy"):
        load_tokenizer(resolve(models / "base"))
