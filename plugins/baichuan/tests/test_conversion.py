"""Baichuan's checkpoints, converted: exact, whole or refused, tuned and merged, and asked in Chinese."""

from __future__ import annotations

import pytest
import torch
from camelid_core.converter_contract import assert_converter_contract, assert_same_logits, convert, logits
from camelid_core.models.loading import load_tokenizer
from camelid_core.models.resolved_model import adapter_targets, resolve_model
from camelid_core.models.weight_files import WeightFiles
from camelid_core.plugins import load_host
from camelid_core.records import Message
from camelid_core.testing import assert_template_contract, write_jsonl
from camelid_serve.chat.session import ChatSession
from camelid_serve.config import EngineConfig
from camelid_serve.loaded_models import load_model
from camelid_train.testing import tuned_and_merged

from . import reference_baichuan
from .conftest import CONFIGS

IDS = torch.arange(3, 39).reshape(2, 18)
STEPS = ("train.max_steps=40", "train.learning_rate=0.01", "method.r=16")


@pytest.mark.parametrize("name", CONFIGS)
def test_the_converter_keeps_its_contract(home, tmp_path, original, name):
    assert_converter_contract(original(name), tmp_path / "out", load_host(), reference_baichuan.logits, IDS)


def packed(directory) -> dict:
    """A converted model's tensors in the original layout."""
    files = WeightFiles(directory)
    tensors = {name: files.tensor(name) for name in files.names}
    for name in [name for name in tensors if name.endswith("q_proj.weight")]:
        parts = [tensors.pop(name.replace("q_proj", f"{part}_proj")) for part in "qkv"]
        tensors[name.replace("q_proj", "W_pack")] = torch.cat(parts)
    return tensors


@pytest.mark.parametrize("name", ["baichuan2-7b", "baichuan2-13b"])
def test_a_chat_model_is_tuned_merged_and_asked_in_chinese(home, tmp_path, original, attempt, name):
    """What comes of LoRA steps is what the original formula computes with the merged weights; and the model
    answers in Chinese, under the template that its own files name."""
    host = load_host()
    model, said = convert(original(name, chat=True), tmp_path / "model", host)
    assert "the template is 'baichuan-2'" in " ".join(said)
    rows = [{"instruction": f"你好，请问{number}加{number}等于多少？", "output": "好。"} for number in range(8)]
    run, merged = tuned_and_merged(model, write_jsonl(tmp_path / "rows.jsonl", rows), attempt, *STEPS)
    assert run.manifest["template"]["name"] == "baichuan-2"
    assert adapter_targets(resolve_model(str(run.output), host)) == ["k_proj", "q_proj", "v_proj"]
    config = CONFIGS[name]
    assert_same_logits(logits(merged, host, IDS), reference_baichuan.logits(packed(merged), config, IDS))
    assert not logits(merged, host, IDS).allclose(logits(model, host, IDS), atol=1e-4)
    assert run.losses[-1] < 0.3
    loaded = load_model(str(merged), host, EngineConfig(dtype="float32"))
    try:
        assert loaded.template.name == "baichuan-2"
        assert (
            loaded.encoder.tokenizer.decode(loaded.prompt_ids([Message("user", "你好")]))
            == "<reserved_106>你好<reserved_107>"
        )
        assert "".join(ChatSession(loaded).send("你好，请问1加1等于多少？")) == "好。"
    finally:
        loaded.engine.close()


@pytest.mark.parametrize("name", ["baichuan", "baichuan-2"])
def test_the_prompt_format_keeps_its_contract_with_the_converted_tokenizer(home, tmp_path, original, name):
    host = load_host()
    tokenizer = load_tokenizer(resolve_model(str(convert(original("baichuan2-7b"), tmp_path / "out", host)[0]), host))
    assert_template_contract(host.templates[name], tokenizer)
