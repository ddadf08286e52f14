"""No weight is random unsaid: what is missing from a base's or an adapter's file is named, and what is too small."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from camelid_core.builtin.templates import CHATML
from camelid_core.errors import ModelError
from camelid_core.models.loading import check_weight_files, load_base, load_tokenizer, load_with_adapter
from camelid_core.models.resolved_model import resolve_model
from camelid_core.models.vocabulary import check_vocabulary
from camelid_core.plugins import load_host
from camelid_core.templates.role_template import RoleTemplate
from camelid_core.testing import tiny_model
from camelid_core.tokenization.encoder import Encoder
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory):
    model = AutoModelForCausalLM.from_pretrained(base)
    place = tmp_path_factory.mktemp("adapters") / "whole"
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(place)
    return place


def changed(directory, target, change, file):
    """A copy of a directory whose tensors were changed."""
    shutil.copytree(directory, target)
    tensors = load_file(target / file)
    save_file(change(tensors), target / file, metadata={"format": "pt"})
    return resolve_model(str(target), load_host())


@pytest.mark.parametrize("name", ["model.layers.1.mlp.down_proj.weight", "model.norm.weight", "model.layers.0."])
def test_a_tensor_that_is_missing_from_a_base_is_named(base, tmp_path, name):
    def without(tensors):
        return {key: value for key, value in tensors.items() if not key.startswith(name)}

    resolved = changed(base, tmp_path / "cut", without, "model.safetensors")
    with pytest.raises(ModelError, match=rf"'{name}.* missing from its weight files, and would be random numbers"):
        load_base(resolved, "float32")


def test_a_head_of_its_own_is_not_left_random(base, tmp_path):
    target = tmp_path / "untied"
    shutil.copytree(base, target)
    config = json.loads((target / "config.json").read_text())
    tensors = load_file(target / "model.safetensors")
    tensors.pop("lm_head.weight", None)
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    (target / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    with pytest.raises(ModelError, match=r"'lm_head\.weight' is missing"):
        load_base(resolve_model(str(target), load_host()), "float32")


@pytest.mark.parametrize("half", [True, False])
def test_an_adapter_of_which_tensors_are_missing_or_named_otherwise_is_refused(base, adapter, tmp_path, half):
    def fewer(tensors):
        return {key: value for key, value in tensors.items() if ".layers.1." not in key}

    def renamed(tensors):
        return {key.replace("model.model.", "model.model.language_model."): each for key, each in tensors.items()}

    resolved = changed(adapter, tmp_path / "odd", fewer if half else renamed, "adapter_model.safetensors")
    sentence = r"does not fit .*base_model\.model\.model\.layers.* are missing"
    with pytest.raises(ModelError, match=sentence) as caught:
        load_with_adapter(resolved, "float32")
    assert ("It is for another base" in str(caught.value)) is not half


def shallow(base, target):
    """The base with its first layer alone; its file still has both."""
    shutil.copytree(base, target)
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}))
    return target


def test_layers_that_a_configuration_leaves_out_are_named(base, tmp_path):
    resolved = resolve_model(str(shallow(base, tmp_path / "short")), load_host())
    with pytest.raises(ModelError, match=r"model\.layers\.1\..* in its weight files and would be left out"):
        load_base(resolved, "float32")


def test_an_adapter_for_more_layers_is_refused(base, adapter, tmp_path):
    target = shallow(base, tmp_path / "short")
    tensors = {key: each for key, each in load_file(base / "model.safetensors").items() if ".layers.1." not in key}
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    shutil.copytree(adapter, tmp_path / "deep")
    config = json.loads((tmp_path / "deep" / "adapter_config.json").read_text())
    moved = json.dumps(config | {"base_model_name_or_path": str(target)})
    (tmp_path / "deep" / "adapter_config.json").write_text(moved)
    with pytest.raises(ModelError, match=r"layers\.1\..* without a place in it\. It is for another base"):
        load_with_adapter(resolve_model(str(tmp_path / "deep"), load_host()), "float32")


def test_a_whole_adapter_is_loaded(base, adapter):
    model = load_with_adapter(resolve_model(str(adapter), load_host()), "float32")
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter)
    assert torch.equal(model(input_ids=IDS).logits, plain(input_ids=IDS).logits)


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`", "ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.parametrize("tied", [False, True])
def test_an_adapter_with_a_grown_vocabulary_brings_its_rows(tmp_path, tied):
    base = tiny_model(tmp_path / "base")
    shape = AutoConfig.from_pretrained(base, tie_word_embeddings=tied)
    AutoModelForCausalLM.from_config(shape).save_pretrained(base)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<a>", "<b>", "<c>"]})
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    saved = ["embed_tokens"] if tied else ["embed_tokens", "lm_head"]
    config = LoraConfig(
        task_type="CAUSAL_LM", target_modules=["q_proj"], modules_to_save=saved, init_lora_weights=False
    )
    grown = get_peft_model(model, config)
    grown.save_pretrained(tmp_path / "grown")
    tokenizer.save_pretrained(tmp_path / "grown")
    resolved = resolve_model(str(tmp_path / "grown"), load_host())
    check_vocabulary(Encoder(load_tokenizer(resolved), CHATML), resolved)
    loaded = load_with_adapter(resolved, "float32")
    ids = torch.tensor([[5, tokenizer.convert_tokens_to_ids("<c>"), 7]])
    assert torch.allclose(loaded(input_ids=ids).logits, grown.eval()(input_ids=ids).logits, atol=1e-5)


def test_what_a_template_writes_must_have_a_place_in_the_model(tmp_path):
    base = tiny_model(tmp_path / "base")
    small = json.loads((base / "config.json").read_text())["vocab_size"]
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>x", "<|turn|>", "<|stop|>"]})
    template = RoleTemplate("turns", "", user="<|turn|>{content}<|stop|>", assistant="<|turn|>")
    resolved = resolve_model(str(base), load_host())
    assert len(tokenizer) > small
    with pytest.raises(ModelError, match=rf"template 'turns' writes '<\|turn\|>'.*vocabulary of {small:,}"):
        check_vocabulary(Encoder(tokenizer, template), resolved)


def test_a_shard_that_is_gone_is_found_without_reading_a_weight(base, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(base)
    model.save_pretrained(tmp_path, max_shard_size="30KB")
    check_weight_files(tmp_path)
    gone = sorted(tmp_path.glob("*.safetensors"))[1]
    gone.unlink()
    with pytest.raises(ModelError, match=rf"missing from its weight files \({gone.name}\). Copy"):
        check_weight_files(tmp_path)
