"""MOSS's checkpoints, converted: exact, whole or refused, tuned and merged, and asked in Chinese."""

from __future__ import annotations

import json
import re
from itertools import chain

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

from . import reference_moss
from .conftest import ADDED, CONFIG, HERE, SPACES, VOCABULARY

IDS = torch.arange(3, 39).reshape(2, 18)
STEPS = ("data.cutoff=1024", "train.max_steps=40", "train.learning_rate=0.02", "method.r=16")
TEXTS = (
    "The quick brown fox jumps over 13 lazy dogs.", "请用中文介绍一下你自己，谢谢！", "1234567890 2026-11-29",
    "def add(a, b):\n    return a + b  # 3.14\n", "  two  spaces ", "emoji 🐫 and rare 龘", "\t\ttabs\n\nnewlines",
)  # fmt: skip


def test_the_converter_keeps_its_contract(home, tmp_path, original):
    assert_converter_contract(original(), tmp_path / "out", load_host(), reference_moss.logits, IDS)


def test_texts_have_the_originals_token_ids_and_come_back(home, tmp_path, original):
    host = load_host()
    tokenizer = load_tokenizer(resolve_model(str(convert(original(), tmp_path / "out", host)[0]), host))
    merges = [tuple(line.split()) for line in (HERE / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]]
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        parts = re.split("( {3,4})", text)
        expected = [
            [ADDED[part]] if part in SPACES else reference_moss.token_ids(part, VOCABULARY, merges) for part in parts
        ]
        assert ids == list(chain(*expected)), text
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    for text, number in ADDED.items():
        assert tokenizer(f"a{text}")["input_ids"][-1] == number
    stripped = [*tokenizer("a")["input_ids"], ADDED["<eoh>"], *tokenizer("b")["input_ids"]]
    assert tokenizer("a <eoh>\nb")["input_ids"] == stripped, "an added token of the original strips what is beside it"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wbits": 4}, "quantised .* without int4 or int8 in its name"),
        ({"n_head": 6}, "n_head 6: heads must divide the width, and 4 the heads"),
        ({"n_embd": "48"}, "n_embd '48'; it must be a positive whole number"),
    ],
)
def test_what_no_moss_is_is_a_sentence(home, tmp_path, original, change, message):
    with pytest.raises(ModelError, match=message):
        convert(original(**change), tmp_path / "out", load_host())


def test_a_damaged_tokenizer_is_a_sentence(home, tmp_path, original):
    source = original()
    (source / "added_tokens.json").write_text(json.dumps({"<eoh>": 9999}))
    with pytest.raises(ModelError, match=r"'<eoh>' has id 9999 in added_tokens\.json"):
        convert(source, tmp_path / "out", load_host())
    (source / "merges.txt").write_text("#version: 0.2\na b c\n")
    with pytest.raises(ModelError, match="'a b c', which is no pair of tokens"):
        convert(source, tmp_path / "out", load_host())


def test_it_is_tuned_merged_and_asked_in_chinese(home, tmp_path, original, attempt):
    host = load_host()
    model, said = convert(original(sharp=True), tmp_path / "model", host)
    assert "template 'moss'" in " ".join(said)
    rows = [{"instruction": f"你好，请问{number}加{number}等于多少？", "output": "好。"} for number in range(2)]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    run, merged = tuned_and_merged(model, data, attempt, *STEPS)
    assert run.manifest["template"]["name"] == "moss"
    assert adapter_targets(resolve_model(str(run.output), host)) == ["qkv_proj"]
    files = WeightFiles(merged)
    tensors = {name: files.tensor(name) for name in files.names}
    assert_same_logits(logits(merged, host, IDS), reference_moss.logits(tensors, CONFIG, IDS))
    assert not logits(merged, host, IDS).allclose(logits(model, host, IDS), atol=1e-4)
    loaded = load_model(str(merged), host, EngineConfig(dtype="float32"))
    try:
        prompt = loaded.encoder.tokenizer.decode(loaded.prompt_ids([Message("user", "你好")]))
        assert prompt.startswith("You are an AI assistant whose name is MOSS.\n")
        assert prompt.endswith("<|Human|>: 你好<eoh><|MOSS|>:")
        assert "".join(ChatSession(loaded).send("你好，请问1加1等于多少？")) == "好。"
    finally:
        loaded.engine.close()


@pytest.mark.parametrize("name", ["moss"])
def test_the_prompt_format_keeps_its_contract_with_the_converted_tokenizer(home, tmp_path, original, name):
    host = load_host()
    tokenizer = load_tokenizer(resolve_model(str(convert(original(), tmp_path / "out", host)[0]), host))
    assert_template_contract(host.templates[name], tokenizer)
