"""ChatGLM-6B's tokenizer: the ids of the original, and prompts and answers as its fine-tuning scripts divide them."""

from __future__ import annotations

import json

import pytest
from camelid_core.plugins import load_host
from camelid_core.records import Message
from camelid_core.template_contract import make_contract
from camelid_core.templates.chat_template_export import render_chat_template
from camelid_core.testing import assert_template_contract
from camelid_core.tokenization.encoder import IGNORE, Encoder
from transformers import AutoTokenizer

from .originals import DATA, IMAGES, ice_ids, make_chatglm

GOLDEN = json.loads((DATA / "golden.json").read_text(encoding="utf-8"))
ALONE = (Message("user", "你好，世界！"), Message("assistant", "The answer is 5."))
TURNS = (
    Message("user", "你好"),
    Message("assistant", "Hello world"),
    Message("user", "几号？"),
    Message("assistant", "5."),
)


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def tokenizer(convert, tmp_path_factory, kind):
    folder = tmp_path_factory.mktemp(kind)
    return AutoTokenizer.from_pretrained(convert(make_chatglm(folder / "original", kind=kind), folder / "converted"))


def ids_of(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_ids_are_those_of_the_original(tokenizer, kind):
    for text, ids in GOLDEN[f"ice_{kind}"]:
        assert ids_of(tokenizer, text) == ids, text
        if not text.startswith(("<n>", "a<|blank")):  # the original cannot tell these from white space either
            assert tokenizer.decode(ids) == text


def test_control_tokens_have_the_ids_of_the_original(tokenizer, kind):
    known = ice_ids(kind)
    for text in ("[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<pad>", "<unk>"):
        assert tokenizer.convert_tokens_to_ids(text) == known[text]
        assert ids_of(tokenizer, text) == [known[text]]
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.padding_side) == ("<eop>", "<pad>", "left")
    assert tokenizer("你好")["input_ids"] == [*ids_of(tokenizer, "你好"), known["[gMASK]"], known["<sop>"]]
    assert tokenizer.convert_ids_to_tokens(IMAGES - 1) == f"<image_{IMAGES - 1}>"


def test_a_lone_question_is_itself_and_its_answer_begins_behind_sop(tokenizer, kind):
    """As `build_inputs_with_special_tokens(prompt, answer)` has it: both encoded by themselves."""
    known, encoder = ice_ids(kind), Encoder(tokenizer, load_host().templates["chatglm"])
    prompt = [*ids_of(tokenizer, "你好，世界！"), known["[gMASK]"], known["<sop>"]]
    answer = [*ids_of(tokenizer, "The answer is 5."), known["<eop>"]]
    example = encoder.example(ALONE)
    assert encoder.prompt_ids(ALONE[:1]) == prompt
    assert example.input_ids == prompt + answer
    assert example.labels == [IGNORE] * len(prompt) + answer
    assert encoder.stop_ids == [known["<eop>"]]


@pytest.mark.parametrize("template", ["chatglm", "alpaca", "chatml"])
def test_of_a_conversation_only_the_last_answer_is_behind_sop_and_trained(tokenizer, kind, template):
    known, encoder = ice_ids(kind), Encoder(tokenizer, load_host().templates[template])
    example = encoder.example(TURNS)
    prompt = encoder.prompt_ids(TURNS[:-1])
    assert prompt[-2:] == [known["[gMASK]"], known["<sop>"]]
    assert example.input_ids[: len(prompt)] == prompt
    assert example.input_ids.count(known["<sop>"]) == 1
    assert [label == IGNORE for label in example.labels] == [at < len(prompt) for at in range(len(example.labels))]
    unlearnt = encoder.example([*TURNS[:-1], Message("assistant", "5.", trained=False)])
    assert set(unlearnt.labels) <= {IGNORE}
    assert encoder.given_ids([*TURNS[:-1], Message("assistant", "5")])[: len(prompt)] == prompt


def test_a_round_is_written_as_the_original_writes_it(tokenizer):
    encoder = Encoder(tokenizer, load_host().templates["chatglm"])
    text = "[Round 0]\n问：你好\n答：Hello world\n[Round 1]\n问：几号？\n答："
    assert encoder.prompt_ids(TURNS[:-1])[:-2] == ids_of(tokenizer, text.replace("Hello world</s>", "Hello world"))


def test_a_text_by_itself_is_an_answer_to_nothing(tokenizer, kind):
    known, encoder = ice_ids(kind), Encoder(tokenizer, load_host().templates["chatglm"])
    example = encoder.example([Message("text", "Hello world")])
    start, body = [known["[gMASK]"], known["<sop>"]], [*ids_of(tokenizer, "Hello world"), known["<eop>"]]
    assert (example.input_ids, example.labels) == (start + body, [IGNORE, IGNORE, *body])


@pytest.mark.parametrize("template", ["chatglm", "alpaca"])
def test_nothing_a_person_writes_is_a_control_token_and_jinja_renders_the_same(tokenizer, template):
    """Only of one answer: of more, the contract would have all of them trained."""
    alone = [(Message("user", "What is 2 + 3?"), Message("assistant", "5.")), ALONE]
    assert_template_contract(Encoder(tokenizer, load_host().templates[template]).template, tokenizer, alone)


def test_plain_transformers_renders_the_same_prompt_from_the_converted_directory(tokenizer):
    template = load_host().templates["chatglm"]
    messages = [{"role": each.role, "content": each.content} for each in TURNS]
    ids = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True)["input_ids"]
    assert ids == Encoder(tokenizer, template).prompt_ids(TURNS[:-1])
    whole = render_chat_template(make_contract(template, tokenizer).jinja, TURNS, "<eop>", False, "").text
    assert whole.endswith("答：[gMASK]<sop>5.<eop>")
