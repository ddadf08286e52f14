"""Merging layer by layer: the same weights as merging the whole model, for whatever PEFT can put on a layer."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from camelid_core.artefacts import verify_directory
from camelid_core.errors import ModelError
from camelid_core.tasks import Interrupted
from camelid_train.export import layer_merge
from camelid_train.export.merge import merge
from camelid_train.export.merge_config import MergeConfig
from peft import IA3Config, LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

QKV = ["query_key_value"]
FORMS = {
    "lora": {"target_modules": ["q_proj", "down_proj"]},
    "rslora": {"target_modules": "all-linear", "use_rslora": True},
    "dora": {"target_modules": ["q_proj", "v_proj"], "use_dora": True},
    "ranks": {"target_modules": ["q_proj", "k_proj"], "rank_pattern": {"k_proj": 2}, "alpha_pattern": {"k_proj": 3}},
    "head": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "embeddings": {"target_modules": ["embed_tokens", "lm_head"]},
}


pytestmark = [
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning"),  # peft, as they are made
    pytest.mark.filterwarnings("ignore:Model with `tie_word_embeddings=True`:UserWarning"),
    pytest.mark.filterwarnings("ignore:Adapter 'default'. 2 LoRA tensor:UserWarning"),  # of lora_bias, which are 1-D
    pytest.mark.filterwarnings("ignore:Careful, disabling adapter layers:UserWarning"),
]


@pytest.mark.parametrize(
    ("family", "options"),
    [*(("llama", options) for options in FORMS.values()), ("bloom", {"target_modules": QKV}),
     ("gpt_neox", {"target_modules": QKV}), ("qwen2", {"target_modules": ["q_proj"]})],
    ids=[*FORMS, "bloom", "gpt_neox", "qwen2"],
)  # fmt: skip
def test_layer_by_layer_gives_the_weights_of_the_whole(adapter, attempt, base, tmp_path, family, options):
    if family == "llama":  # an untied one, so that its ends can be trained apart
        model = base(family)
        assert not json.loads((model / "config.json").read_text())["tie_word_embeddings"]
    directory = adapter(base(family), tmp_path / "adapter", **options)
    outputs = []
    for job, memory in enumerate(("whole", "layer"), 1):
        run = attempt(job=job)
        metrics = merge(MergeConfig(adapter=str(directory), memory=memory, shard="30KB"), run)
        outputs.append(run.output)
    assert metrics["layer_difference"] < 1e-5 < metrics["layer_effect"]
    whole, layers = (AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32) for path in outputs)
    ours = dict(layers.state_dict())
    for name, tensor in whole.state_dict().items():
        assert torch.allclose(ours[name], tensor, atol=1e-6), name
    assert len(list(outputs[1].glob("*.safetensors"))) > 1
    assert AutoTokenizer.from_pretrained(outputs[1]).chat_template
    assert verify_directory(outputs[1]).manifest.kind == "model"


def test_the_dtype_asked_for_is_stored_and_said(adapter, attempt, base, tmp_path):
    run = attempt(job=1)
    directory = adapter(base(), tmp_path / "adapter", target_modules=["q_proj"])
    merge(MergeConfig(adapter=str(directory), memory="layer", dtype="bfloat16"), run)
    assert json.loads((run.output / "config.json").read_text())["dtype"] == "bfloat16"
    assert {each.dtype for each in load_file(run.output / "model.safetensors").values()} == {torch.bfloat16}


def test_too_little_memory_takes_layers_and_says_so(adapter, attempt, base, tmp_path, monkeypatch):
    monkeypatch.setattr("camelid_train.export.merge.available_memory", lambda: 1000)
    run = attempt(job=1)
    merge(MergeConfig(adapter=str(adapter(base(), tmp_path / "adapter", target_modules=["q_proj"]))), run)
    assert any("Merging layer by layer" in event["text"] for event in run.events("log"))
    assert run.events("progress")[-1]["unit"] == "tensors"


def test_what_layers_cannot_do_is_refused_with_the_reason_or_done_whole(adapter, attempt, base, tmp_path, monkeypatch):
    directory = adapter(base("gpt_neox"), tmp_path / "bias", target_modules=QKV, bias="all")
    with pytest.raises(ModelError, match=r"cannot be merged layer by layer: it brings biases .* Leave memory at auto"):
        merge(MergeConfig(adapter=str(directory), memory="layer"), attempt(job=1))
    with pytest.raises(ModelError, match="as-trained needs the quantised base whole"):
        merge(MergeConfig(adapter=str(directory), memory="layer", weights="as-trained"), attempt(job=2))
    monkeypatch.setattr("camelid_train.export.merge.available_memory", lambda: 1000)
    run = attempt(job=3)
    assert "logit_difference" in merge(MergeConfig(adapter=str(directory)), run)
    assert any("The whole base is needed in memory" in event["text"] for event in run.events("log"))


@pytest.mark.parametrize(
    ("family", "config", "reason"),
    [
        ("qwen2", IA3Config(task_type="CAUSAL_LM", init_ia3_weights=False), "of the kind IA3"),
        ("qwen2", LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], lora_bias=True), "it has lora_bias"),
    ],
)
def test_what_changes_a_bias_is_merged_whole(attempt, base, tmp_path, monkeypatch, family, config, reason):
    """Such a bias would be left as it was: every layer by itself answers rightly, and the written model does not."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(base(family), dtype=torch.float32)
    tuned = get_peft_model(model, config)
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    tuned.save_pretrained(tmp_path / "adapter")
    AutoTokenizer.from_pretrained(base(family)).save_pretrained(tmp_path / "adapter")
    with pytest.raises(ModelError, match=f"layer by layer: it .*{reason.removeprefix('it ')}"):
        merge(MergeConfig(adapter=str(tmp_path / "adapter"), memory="layer"), attempt(job=1))
    if not isinstance(config, LoraConfig):
        return  # it scales biases, which are zero in a model that was never trained
    monkeypatch.setattr("camelid_train.export.merge.why_whole", lambda _: "")
    with pytest.raises(ModelError, match="changes a bias"):
        merge(MergeConfig(adapter=str(tmp_path / "adapter"), memory="layer"), attempt(job=2))


def test_a_model_that_lies_there_twice_is_read_once(adapter, attempt, base, tmp_path):
    """As Mistral's repositories hold `consolidated.safetensors` beside the files that Transformers reads."""
    twice = shutil.copytree(base(), tmp_path / "twice")
    shutil.copy(twice / "model.safetensors", twice / "consolidated.safetensors")
    directory = adapter(twice, tmp_path / "adapter", target_modules=["q_proj"])
    for job, memory in enumerate(("auto", "layer"), 1):
        run = attempt(job=job)
        merge(MergeConfig(adapter=str(directory), memory=memory), run)
        assert sorted(load_file(run.output / "model.safetensors")) == sorted(load_file(twice / "model.safetensors"))


def test_nothing_changed_a_wrong_layer_and_a_stop_leave_nothing(adapter, attempt, base, tmp_path, monkeypatch):
    still = adapter(base(), tmp_path / "still", target_modules=["q_proj"], init_lora_weights=True)
    weights = still / "adapter_model.safetensors"
    from safetensors.torch import save_file

    save_file({name: each * ("lora_B" not in name) for name, each in load_file(weights).items()}, weights)
    run = attempt(job=1)
    with pytest.raises(ModelError, match="changes nothing"):
        merge(MergeConfig(adapter=str(still), memory="layer"), run)
    assert not run.output.exists()
    directory = adapter(base(), tmp_path / "adapter", target_modules=["q_proj"])
    run = attempt(job=2)
    run.stop_at = (3, "save")
    with pytest.raises(Interrupted):
        merge(MergeConfig(adapter=str(directory), memory="layer"), run)
    assert not run.output.exists()
    monkeypatch.setattr(layer_merge, "_TOLERANCE", 0.0)
    run = attempt(job=3)
    with pytest.raises(ModelError, match=r"merged into 'model.layers.0.self_attn.q_proj.weight', the adapter answers"):
        merge(MergeConfig(adapter=str(directory), memory="layer"), run)
    assert not run.output.exists()


def test_one_matrix_for_both_ends_is_refused(adapter, attempt, base, tmp_path):
    tied = next(
        family for family in ("bloom", "qwen2", "gemma2")
        if AutoModelForCausalLM.from_pretrained(base(family)).config.tie_word_embeddings
    )  # fmt: skip
    directory = adapter(base(tied), tmp_path / "adapter", target_modules=["lm_head"])
    for job, memory in enumerate(("layer", "whole"), 1):
        with pytest.raises(ModelError, match="tie_word_embeddings"):
            merge(MergeConfig(adapter=str(directory), memory=memory), attempt(job=job))
