"""InternLM's checkpoints, converted: exact, whole or refused, tuned and merged, and asked in Chinese."""

from __future__ import annotations

import pytest
import torch
from camelid_core.converter_contract import assert_converter_contract, assert_same_logits, convert, logits
from camelid_core.errors import ModelError
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

from . import reference_internlm
from .conftest import CHAT_1, CHAT_2, CONFIGS

IDS = torch.arange(3, 39).reshape(2, 18)
STEPS = ("train.max_steps=40", "train.learning_rate=0.01", "method.r=16")


@pytest.mark.parametrize("name", CONFIGS)
def test_the_converter_keeps_its_contract(home, tmp_path, original, name):
    """Those with a context of 12 tokens are asked beyond it: their positions are scaled there."""
    assert_converter_contract(original(name), tmp_path / "out", load_host(), reference_internlm.logits, IDS)


def test_an_internlm_3_with_biases_is_refused(home, tmp_path, original, monkeypatch):
    monkeypatch.setitem(CONFIGS, "biased", {**CONFIGS["internlm3"], "qkv_bias": True})
    with pytest.raises(ModelError, match="biases, which no published one has"):
        convert(original("biased"), tmp_path / "out", load_host())


def in_original_layout(directory, config) -> dict:
    """A converted model's tensors under the names, and in the layout, of its original."""
    files = WeightFiles(directory)
    tensors = {name: files.tensor(name) for name in files.names}
    if config["model_type"] != "internlm2":
        return tensors
    groups, width = config["num_key_value_heads"], config["hidden_size"] // config["num_attention_heads"]
    names = {
        "embed_tokens": "tok_embeddings", "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm",
        "self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1", "mlp.up_proj": "feed_forward.w3",
        "mlp.down_proj": "feed_forward.w2", "lm_head": "output",
    }  # fmt: skip
    for name in [name for name in tensors if "q_proj" in name]:
        parts = [tensors.pop(name.replace("q_proj", f"{part}_proj")) for part in "qkv"]
        grouped = torch.cat([part.unflatten(0, (groups, -1, width)) for part in parts], 1)
        tensors[name.replace("self_attn.q_proj", "attention.wqkv")] = grouped.flatten(0, 2)
    for ours, theirs in names.items():
        tensors = {name.replace(ours, theirs): tensor for name, tensor in tensors.items()}
    return tensors


@pytest.mark.parametrize(
    ("name", "end", "template", "prompt"),
    [
        ("internlm-7b", CHAT_1, "internlm", "<s> <|User|>:你好<eoh>\n<|Bot|>:"),
        ("internlm2", CHAT_2, "internlm-2", "<|im_start|> user\n你好<|im_end|> \n<|im_start|> assistant\n"),
    ],
)
def test_a_chat_model_is_tuned_merged_and_asked_in_chinese(
    home, tmp_path, original, attempt, name, end, template, prompt
):
    """Generation 2 puts a space before the text behind a control token, as its tokenizer does."""
    host = load_host()
    model, said = convert(original(name, end), tmp_path / "model", host)
    assert f"the template is '{template}'" in " ".join(said)
    rows = [{"instruction": f"你好，请问{number}加{number}等于多少？", "output": "好。"} for number in range(8)]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    run, merged = tuned_and_merged(model, data, attempt, *STEPS)
    assert run.manifest["template"]["name"] == template
    assert adapter_targets(resolve_model(str(run.output), host)) == ["q_proj", "v_proj"]
    config = CONFIGS[name]
    expected = reference_internlm.logits(in_original_layout(merged, config), config, IDS)
    assert_same_logits(logits(merged, host, IDS), expected)
    assert not logits(merged, host, IDS).allclose(logits(model, host, IDS), atol=1e-4)
    loaded = load_model(str(merged), host, EngineConfig(dtype="float32"))
    try:
        assert loaded.encoder.tokenizer.decode(loaded.prompt_ids([Message("user", "你好")])).endswith(prompt)
        assert "".join(ChatSession(loaded).send("你好，请问1加1等于多少？")) == "好。"
    finally:
        loaded.engine.close()


@pytest.mark.parametrize("name", ["internlm", "internlm-2"])
def test_the_prompt_format_keeps_its_contract_with_the_converted_tokenizer(home, tmp_path, original, name):
    host = load_host()
    tokenizer = load_tokenizer(
        resolve_model(
            str(convert(original("internlm2" if name == "internlm-2" else "internlm-7b"), tmp_path / "out", host)[0]),
            host,
        )
    )
    assert_template_contract(host.templates[name], tokenizer)
