"""The encoder, with every kind of tokenizer: prompts are prefixes, and people's text stays text."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from camelid_core.builtin.templates import ALPACA, CHATML
from camelid_core.errors import ModelError
from camelid_core.plugins import load_host
from camelid_core.records import Message
from camelid_core.special_tokens import special_tokens
from camelid_core.templates.segments import segments_text
from camelid_core.testing import CONVERSATIONS, assert_template_contract
from camelid_core.tokenization.encoder import IGNORE, Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

CONTROL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "</s>", "<s>", "<unk>", "<0x41>"]
piece = st.sampled_from([*CONTROL, "▁", " ", "\n", "  a", "<|im_st"]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=6
)
text = st.lists(piece, max_size=4).map("".join)
pair = st.tuples(st.builds(Message, st.just("user"), text, text), st.builds(Message, st.just("assistant"), text))
conversations = st.tuples(
    st.lists(st.builds(Message, st.just("system"), text), max_size=1), st.lists(pair, min_size=1, max_size=2)
).map(lambda parts: (*parts[0], *(message for both in parts[1] for message in both)))


@pytest.fixture(params=["alpaca", "chatml", "vicuna", "tulu", "llama-2", "glm-4", "alpaca-dialogue"], scope="module")
def template(request):
    """One template of each kind; `test_template_properties` has them all."""
    return load_host().templates[request.param]


def test_every_template_keeps_the_contract_with_every_kind_of_tokenizer(template, tokenizer):
    assert_template_contract(template, tokenizer)


@settings(max_examples=8)
@given(conversations)
def test_the_ids_of_a_prompt_are_a_prefix_and_training_starts_behind_them(template, tokenizer, messages):
    encoder = Encoder(tokenizer, template)
    example, prompt = encoder.example(messages), encoder.prompt_ids(messages[:-1])
    assert example.input_ids[: len(prompt)] == prompt
    assert len(example.labels) == len(example.input_ids)
    assert all(label in (IGNORE, token) for label, token in zip(example.labels, example.input_ids, strict=True))
    assert set(example.labels[len(prompt) :]) <= set(example.input_ids), "nothing behind the prompt is left out"


@settings(max_examples=8)
@given(conversations)
def test_no_text_of_a_person_becomes_a_control_token(template, tokenizer, messages):
    encoder = Encoder(tokenizer, template)
    control = {tokenizer.convert_tokens_to_ids(token) for token in special_tokens(tokenizer)} - {tokenizer.unk_token_id}
    quiet = [Message(m.role, "x", "y" if m.context else "") if m.content else m for m in messages]

    def count(turns):
        return sum(token in control for token in encoder.example(turns).input_ids)

    assert count(messages) == count(quiet)


@settings(max_examples=30)
@given(conversations)
def test_byte_level_ids_spell_the_whole_text(template, byte_level, messages):
    encoder = Encoder(byte_level, template)
    prompt = segments_text(template.prompt(messages[:-1]), byte_level.eos_token, bos="")
    ids = encoder.prompt_ids(messages[:-1])
    assert encoder.decode(ids).endswith(prompt)
    assert len(encoder.decode(ids)) - len(prompt) in (0, len("<|im_start|>"))


plain = st.text("abc xyz.,!?答案\n07", max_size=12)


@settings(max_examples=8)
@given(plain, plain)
def test_a_prompt_of_one_turn_has_the_ids_of_its_text_encoded_at_once(template, tokenizer, content, context):
    messages = [Message("user", content, context)]
    prompt = segments_text(template.prompt(messages), tokenizer.eos_token)
    expected = tokenizer(prompt)["input_ids"]
    if tokenizer.convert_ids_to_tokens(expected[:2]) == ["<|im_start|>"] * 2:
        expected = expected[1:]  # the template wrote what the tokenizer would have put first
    assert Encoder(tokenizer, template).prompt_ids(messages) == expected


@pytest.mark.parametrize("messages", CONVERSATIONS, ids=range(len(CONVERSATIONS)))
def test_other_libraries_get_the_same_ids_from_our_chat_template(template, messages):
    from camelid_core.testing import tiny_tokenizer

    tokenizer = tiny_tokenizer()
    turns = [
        {"role": m.role, "content": m.content, **({"context": m.context} if m.context else {})} for m in messages[:-1]
    ]
    theirs = tokenizer.apply_chat_template(
        turns, chat_template=template.jinja(), add_generation_prompt=True, return_dict=True
    )["input_ids"]
    ours = Encoder(tokenizer, template).prompt_ids(messages[:-1])
    assert tokenizer.decode(theirs) == tokenizer.decode(ours)
    if all(message.role != "assistant" for message in messages[:-1]):
        assert theirs == ours


def test_an_example_ends_where_nothing_is_trained_any_more(byte_level):
    example = Encoder(byte_level, CHATML).example([Message("user", "x"), Message("assistant", "y")])
    assert example.labels[-1] == byte_level.convert_tokens_to_ids("<|im_end|>")


def test_many_at_once_are_the_same_as_one_at_a_time(template, tokenizer):
    encoder = Encoder(tokenizer, template)
    assert encoder.examples(CONVERSATIONS) == [encoder.example(messages) for messages in CONVERSATIONS]
    assert encoder.examples([]) == []


def test_the_tokenizers_own_beginning_comes_first_and_only_once():
    from camelid_core.testing import tiny_tokenizer
    from tokenizers import processors

    tokenizer = tiny_tokenizer()
    start = tokenizer.convert_tokens_to_ids("<|im_start|>")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A <|im_end|>", special_tokens=[("<|im_start|>", start), ("<|im_end|>", start + 1)]
    )
    for template in (ALPACA, CHATML):
        ids = Encoder(tokenizer, template).prompt_ids([Message("user", "x")])
        assert ids[0] == start
        assert ids[1] != start
        assert ids[-1] != start + 1


def test_a_tokenizer_that_cuts_or_pads_is_not_let_to(byte_level):
    import copy

    tokenizer = copy.deepcopy(byte_level)
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=400)
    expected = Encoder(byte_level, ALPACA).examples(CONVERSATIONS)
    assert Encoder(tokenizer, ALPACA).examples(CONVERSATIONS) == expected


def test_a_tokenizer_without_a_fast_backend_is_refused():
    with pytest.raises(ModelError, match=r"has no fast backend; convert it to tokenizer\.json"):
        Encoder(SimpleNamespace(), ALPACA)


@settings(max_examples=8)
@given(st.lists(st.booleans(), min_size=2, max_size=4))
def test_answers_that_are_not_trained_stand_there_without_labels(template, tokenizer, trained):
    said = [(Message("user", f"q {at}"), Message("assistant", f"a {at}", trained=on)) for at, on in enumerate(trained)]
    messages = [message for pair in said for message in pair]
    encoder = Encoder(tokenizer, template)
    whole, masked = encoder.example([replace(each, trained=True) for each in messages]), encoder.example(messages)
    groups, number = [], 0
    for label, before in zip(whole.labels, [IGNORE, *whole.labels], strict=False):
        number += label != IGNORE and before == IGNORE
        groups.append(number)
    assert number == len(trained)
    expected = [
        label if label != IGNORE and trained[group - 1] else IGNORE
        for label, group in zip(whole.labels, groups, strict=True)
    ]
    if any(trained):  # what follows the last trained answer is left out
        last = max(at for at, label in enumerate(expected) if label != IGNORE)
        assert masked.labels == expected[: last + 1]
        assert masked.input_ids == whole.input_ids[: last + 1]
    else:
        assert set(masked.labels) == {IGNORE}
