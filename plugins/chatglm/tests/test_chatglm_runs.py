"""ChatGLM-6B through Camelid: trained, merged, asked alone and in batches; every logit by the original formulas."""

from __future__ import annotations

import json

import pytest
import torch
from camelid_core.errors import ConfigError, DataError, ModelError
from camelid_core.models.loading import load_base, load_tokenizer
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_core.records import Message
from camelid_core.testing import write_jsonl
from camelid_core.tokenization.encoder import IGNORE, Encoder
from camelid_serve.chat.session import ChatSession
from camelid_serve.config import PredictConfig
from camelid_serve.engine import Request, Sampling
from camelid_serve.engines.logprobs import token_losses
from camelid_serve.loaded_models import load_model
from camelid_serve.predict.inputs import PREDICTIONS
from camelid_serve.predict.task import run as predict
from camelid_serve.testing import collect
from camelid_train.export.merge import merge
from camelid_train.export.merge_config import MergeConfig
from camelid_train.loop.acceleration import should_pack, use_fast_attention
from camelid_train.loop.batches import Collator
from camelid_train.loop.loss import label_loss
from camelid_train.run import train
from camelid_train.testing import attempts, small_recipe
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from .originals import HEADS, ice_ids, original_weights
from .reference_chatglm import logits_of

IDS = ice_ids()
MARKS = {"mask_token": IDS["[MASK]"], "gmask_token": IDS["[gMASK]"], "sop": IDS["<sop>"]}
ROWS = [
    {"instruction": "你好", "output": "你好，世界！"},
    {"instruction": "今天几号？", "output": "三月十四日。"},
    {"instruction": "What is 2 + 3?", "output": "The answer is 5."},
    {"instruction": "def f(x):\n    if x", "output": "\n        return x\n"},
] * 3
GREEDY = Sampling(temperature=0, max_new_tokens=20)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_jsonl(tmp_path_factory.mktemp("rows") / "rows.jsonl", ROWS)


@pytest.fixture
def attempt(home):
    yield from attempts(home)


@pytest.fixture
def recipe(converted, rows):
    def make(*overrides):
        fixed = ("data.template=chatglm", "data.eval_rows=2", "eval.samples=0")
        return small_recipe(converted, rows, (*fixed, *overrides))

    return make


def reference(weights, row):
    return logits_of(weights, row, 2, HEADS, **MARKS)


def with_lora(weights, adapter):
    """The original weights with W + BA·alpha/r, computed here."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    scale = config["lora_alpha"] / config["r"]
    merged, tensors = dict(weights), load_file(adapter / "adapter_model.safetensors")
    for name in tensors:
        if ".lora_A." in name:
            target = name.removeprefix("base_model.model.").replace(".lora_A", "")
            merged[target] = merged[target] + tensors[name.replace("lora_A", "lora_B")] @ tensors[name] * scale
    assert len(tensors) == 4
    return merged


def test_five_lora_steps_and_a_merge_give_what_the_formulas_give_on_the_merged_weights(
    attempt, recipe, original, converted
):
    run = attempt(job=1)
    metrics = train(recipe("train.max_steps=5", "method.type=lora"), run)
    assert metrics["steps"] == 5
    assert run.losses[-1] < run.losses[0]
    assert json.loads((run.output / "adapter_config.json").read_text())["target_modules"] == ["query_key_value"]
    merged = attempt(job=2)
    merge(MergeConfig(adapter=str(run.output)), merged)
    weights = with_lora(original_weights(original), run.output)
    row = [200, 201, 202, IDS["[gMASK]"], IDS["<sop>"], 210, 211]
    model = load_base(resolve_model(str(merged.output), load_host()), "float32").eval()
    with torch.no_grad():
        assert (model(torch.tensor([row])).logits[0] - reference(weights, row)).abs().max() < 1e-5
    assert (reference(weights, row) - reference(original_weights(original), row)).abs().max() > 1e-3
    with_engine = load_model(str(run.output), load_host())
    try:
        assert_answers_of_the_formulas(with_engine, weights)
    finally:
        with_engine.close()


def assert_answers_of_the_formulas(loaded, weights):
    """Greedy answers of the engine, several prompts of different lengths in one batch, joined by a late one."""
    prompts = [loaded.prompt_ids([Message("user", text)]) for text in ("你好", "What is 2 + 3?", "def f(x):\n    " * 3)]
    requests = [Request(ids, Sampling(temperature=0, max_new_tokens=8), adapter=loaded.adapter) for ids in prompts]
    for _ in range(2):  # a second time: nothing of the first is reused wrongly
        answers, _ = collect(loaded.engine, requests)
        for prompt, answer in zip(prompts, answers, strict=True):
            row = [*prompt, *answer]
            chosen = reference(weights, row)[len(prompt) - 1 : -1].argmax(-1).tolist()
            assert chosen == answer


def test_the_loss_in_training_is_that_of_the_formulas(original, converted):
    """Right-padded rows without an attention mask, under the attention that training sets, packing off."""
    host = load_host()
    resolved = resolve_model(str(converted), host)
    model, encoder = load_base(resolved, "float32"), Encoder(load_tokenizer(resolved), host.templates["chatglm"])
    use_fast_attention(model)
    assert should_pack("auto", model) is False
    with pytest.raises(ConfigError, match="cannot keep packed rows apart"):
        should_pack("on", model)
    turns = [(Message("user", row["instruction"]), Message("assistant", row["output"])) for row in ROWS[:4]]
    examples = encoder.examples(turns)
    weights, expected = original_weights(original), 0.0
    for example in examples:
        logits, labels = reference(weights, example.input_ids)[:-1], torch.tensor(example.labels[1:])
        expected += float(cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum"))
        begin = example.input_ids.index(IDS["<sop>"]) + 1
        assert [label == IGNORE for label in example.labels] == [at < begin for at in range(len(example.labels))]
    found = float(label_loss(model.train(), **Collator(IDS["<pad>"])(examples)).detach())
    assert abs(found - expected) < 1e-5 * abs(expected)


def test_chinese_text_in_chinese_text_out_by_chat_and_by_predict(attempt, recipe, tmp_path):
    run = attempt(job=3)
    train(recipe("method.type=full", "train.max_steps=120", "train.learning_rate=0.01", "data.eval_rows=0"), run)
    loaded = load_model(str(run.output), load_host())
    try:
        session = ChatSession(loaded, GREEDY)
        assert "".join(session.send("你好")) == "你好，世界！"
        assert "".join(ChatSession(loaded, GREEDY).send("今天几号？")) == "三月十四日。"
        again = "".join(session.send("今天几号？"))  # with a history: the prompt has rounds, and one <sop>
        assert session.messages[-1] == Message("assistant", again)
        logprobs = loaded.engine.prompt_logprobs(loaded.prompt_ids([Message("user", "你好" * 200)]), loaded.adapter, 1)
        assert all(each.logprob <= 0 for each in logprobs)
    finally:
        loaded.close()
    source = write_jsonl(tmp_path / "questions.jsonl", [{"instruction": row["instruction"]} for row in ROWS[:3]])
    predicted = attempt(job=11)
    predict(PredictConfig(model=str(run.output), input=str(source), sampling=GREEDY, batch_size=3), predicted)
    lines = (predicted.output / PREDICTIONS).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["generate"] for line in lines] == [row["output"] for row in ROWS[:3]]


def test_a_request_without_a_prompt_is_refused_and_others_are_answered(converted):
    loaded = load_model(str(converted), load_host())
    good = [200, 201, IDS["[gMASK]"], IDS["<sop>"]]
    try:
        for bad in ([200, 201], [IDS["<sop>"], 200], [IDS["<pad>"]] * 2 + [200]):
            with pytest.raises(ModelError, match="has no prompt"):
                loaded.engine.stream([Request(good, GREEDY), Request(bad, GREEDY)])
            with pytest.raises(ModelError, match="has no prompt"):
                loaded.engine.prompt_logprobs(bad, None, 1)
        assert collect(loaded.engine, [Request(good, Sampling(temperature=0, max_new_tokens=3))])[0][0]
    finally:
        loaded.close()


def test_perplexity_of_running_text_is_a_sentence(converted):
    model = load_base(resolve_model(str(converted), load_host()), "float32")
    with pytest.raises(ModelError, match="they predict answers, not running text"):
        token_losses(model, torch.tensor([[200, 201, 202]]), 1)


def test_a_row_whose_prompt_does_not_fit_is_left_out(attempt, recipe, tmp_path):
    """It never becomes a row without its prompt's end; one whose answer is cut is trained as far as it goes."""
    long = [{"instruction": "你好，" * 30, "output": "好"}, {"instruction": "你好", "output": "好，" * 30}]
    data = write_jsonl(tmp_path / "long.jsonl", [*ROWS, *long])
    run = attempt(job=4)
    train(recipe(f'data.sources=["{data}"]', "data.cutoff=24", "train.max_steps=2", "data.eval_rows=0"), run)
    counted = run.events("data")[0]
    assert (counted["dropped"], counted["kept"]) == (1, len(ROWS) + 1)
    assert counted["truncated"] >= 1


@pytest.mark.parametrize("method", ["prompt", "p-tuning"])
def test_methods_with_virtual_tokens_as_embeddings_are_a_sentence(attempt, recipe, method):
    with pytest.raises(ModelError, match="embeddings alone do not say where a prompt ends"):
        train(recipe(f"method.type={method}", "train.max_steps=1"), attempt(job=6))


def test_learned_keys_and_values_before_the_prompt_train(attempt, recipe):
    run = attempt(job=7)
    train(recipe("method.type=prefix", "train.max_steps=4", "train.learning_rate=0.1"), run)
    assert run.losses[-1] < run.losses[0]


def test_what_cannot_be_learnt_is_said(attempt, recipe, tmp_path):
    """Earlier answers are in the prompt; a long text cannot be divided, and is left out where that is asked for."""
    turns = [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "你好，世界！"}] * 2
    data = write_jsonl(tmp_path / "turns.jsonl", [{"messages": turns}] * 6)
    run = attempt(job=8)
    train(recipe(f'data.sources=["{data}"]', "train.max_steps=1"), run)
    said = [event["text"] for event in run.events("log")]
    assert any("of which the last alone is learnt" in note for note in said)
    texts = write_jsonl(tmp_path / "texts.jsonl", [{"text": "Hello world. " * count} for count in (1, 2, 3, 4, 5, 90)])
    overrides = (f'data.sources=["{texts}"]', "train.max_steps=1", "data.eval_rows=0", "data.cutoff=64")
    with pytest.raises(DataError, match="texts for this model cannot be divided"):
        train(recipe(*overrides), attempt(job=9))
    train(recipe(*overrides, "data.too_long=skip"), attempt(job=10))


def test_plain_peft_and_transformers_load_the_adapter_once_the_classes_are_registered(attempt, recipe, converted):
    from camelid_chatglm.registration import register
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    run = attempt(job=5)
    train(recipe("train.max_steps=2"), run)
    register()
    model = AutoModelForCausalLM.from_pretrained(converted, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(model, str(run.output)).eval()
    ids = torch.tensor([[200, IDS["[gMASK]"], IDS["<sop>"]]])
    assert adapted.generate(input_ids=ids, max_new_tokens=3, do_sample=False).shape[1] <= 6
