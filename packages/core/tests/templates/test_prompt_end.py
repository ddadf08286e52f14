"""Tokenizers that mark where a prompt ends: under any template, the mark stands before the last answer alone."""

from __future__ import annotations

import pytest
from camelid_core.plugins import load_host
from camelid_core.records import Message
from camelid_core.templates.chat_template_export import render_chat_template
from camelid_core.templates.prompt_end import PROMPT_END, with_prompt_end
from camelid_core.templates.segments import segments_text
from camelid_core.testing import assert_template_contract, tiny_tokenizer
from camelid_core.tokenization.encoder import IGNORE, Encoder

END = "[gMASK]<sop>"
ALONE = (Message("user", "What is 2 + 3?"), Message("assistant", "5."))
TURNS = (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "2 + 3?"), Message("assistant", "5."))
TEMPLATES = ["alpaca", "chatml", "chatglm", "vicuna", "llama-2", "gemma"]


@pytest.fixture
def tokenizer():
    made = tiny_tokenizer(("[gMASK]", "<eop>", "<sop>", "<pad>"))
    made.init_kwargs[PROMPT_END] = END
    return made


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_mark_ends_the_prompt_and_nothing_before_it_is_trained(tokenizer, name):
    template = load_host().templates[name]
    encoder = Encoder(tokenizer, template)
    plain, marked = segments_text(template.render(TURNS)), segments_text(encoder.template.render(TURNS))
    prompt = segments_text(template.prompt(TURNS[:-1]))
    assert marked == prompt + END + plain.removeprefix(prompt)
    assert segments_text(encoder.template.prompt(TURNS[:-1])) == prompt + END
    example, given = encoder.example(TURNS), encoder.prompt_ids(TURNS[:-1])
    assert example.input_ids[: len(given)] == given
    assert [label == IGNORE for label in example.labels] == [at < len(given) for at in range(len(example.labels))]


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_contract_holds_for_one_answer(tokenizer, name):
    assert_template_contract(with_prompt_end(load_host().templates[name], tokenizer), tokenizer, [ALONE])


@pytest.mark.parametrize("name", TEMPLATES)
def test_jinja_renders_the_same_conversation_with_its_mark(tokenizer, name):
    template = with_prompt_end(load_host().templates[name], tokenizer)
    for turns, generation in ((TURNS, False), (TURNS[:-1], True), (TURNS[:-1], False)):
        rendered = render_chat_template(template.jinja(), turns, "</s>", generation, "<s>").text
        if turns[-1].role == "user" and not generation:
            assert END not in rendered
        else:
            segments = template.prompt(turns) if generation else template.render(turns)
            assert rendered == segments_text(segments)


def test_a_template_that_writes_the_mark_gets_no_second_one(tokenizer):
    once = with_prompt_end(load_host().templates["alpaca"], tokenizer)
    twice = with_prompt_end(once, tokenizer)
    assert segments_text(twice.render(ALONE)) == segments_text(once.render(ALONE))
    assert twice.jinja() == once.jinja()


def test_a_text_by_itself_stands_behind_the_mark(tokenizer):
    encoder = Encoder(tokenizer, load_host().templates["alpaca"])
    example = encoder.example([Message("text", "Hello")])
    mark = tokenizer.convert_tokens_to_ids(["[gMASK]", "<sop>"])
    body = [*tokenizer("Hello")["input_ids"], tokenizer.eos_token_id]
    assert (example.input_ids, example.labels) == ([*mark, *body], [IGNORE, IGNORE, *body])


def test_a_tokenizer_without_a_mark_changes_nothing():
    template = load_host().templates["alpaca"]
    assert with_prompt_end(template, tiny_tokenizer()) is template


def test_the_mark_is_saved_with_the_tokenizer(tokenizer, tmp_path):
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=False)
    assert loaded.init_kwargs[PROMPT_END] == END
