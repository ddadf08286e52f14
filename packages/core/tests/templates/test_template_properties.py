"""What holds for every template with every kind of tokenizer, over conversations of any content."""

from __future__ import annotations

from functools import cache
from itertools import cycle, product
from typing import Any

import pytest
from camelid_core.plugins import load_host
from camelid_core.records import Message
from camelid_core.templates.chat_template_export import render_chat_template
from camelid_core.templates.segments import segments_text, trained_spans
from camelid_core.testing import assert_template_contract, takes_system
from camelid_core.tokenization.encoder import IGNORE, Encoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NAMES = [name for name in load_host().templates.names() if name != "own"]
KINDS = ["byte-level", "legacy-llama", "metaspace-never", "unigram"]
MORE_KINDS = [*KINDS, "byte-level+bos", "metaspace-first", "metaspace-always"]
CONTROL = [
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "</s>",
    "<s>",
    "<unk>",
    "<0x41>",
    "{content}",
    "{eos}",
    "{bos}",
]

piece = st.sampled_from([*CONTROL, "▁", " ", "\n", "  a", "<|im_st", "{{ 1 }}"]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=6
)
text = st.lists(piece, max_size=4).map("".join)
pair = st.tuples(st.builds(Message, st.just("user"), text, text), st.builds(Message, st.just("assistant"), text))
conversations = st.tuples(
    st.lists(st.builds(Message, st.just("system"), text), max_size=1), st.lists(pair, min_size=1, max_size=3)
).map(lambda parts: (*parts[0], *(message for both in parts[1] for message in both)))


@pytest.fixture(scope="module")
def encoder_of(tokenizer_of):
    return cache(lambda name, kind: Encoder(tokenizer_of(kind), load_host().templates[name]))


@cache
def place_for_system(name: str) -> bool:
    return takes_system(load_host().templates[name])


def check(encoder: Encoder, messages: tuple[Message, ...]) -> None:
    template, tokenizer = encoder.template, encoder.tokenizer
    if messages[0].role == "system" and not place_for_system(template.name):
        messages = messages[1:]
    example, prompt = encoder.example(messages), encoder.prompt_ids(messages[:-1])
    assert example.input_ids[: len(prompt)] == prompt
    assert IGNORE not in example.labels[len(prompt) :]
    assert len(example.labels) > len(prompt)
    check_inert(encoder, messages, example.input_ids)
    check_jinja(template, tokenizer, messages)
    check_parse(template, messages)


def check_inert(encoder: Encoder, messages: tuple[Message, ...], ids: list[int]) -> None:
    control = set(encoder.special.values()) - {encoder.tokenizer.unk_token_id}
    quiet = [Message(m.role, "x", "y" if m.context else "") if m.content.strip() else m for m in messages]

    def count(tokens: list[int]) -> int:
        return sum(token in control for token in tokens)

    assert count(ids) == count(encoder.example(quiet).input_ids)


def check_jinja(template: Any, tokenizer: Any, messages: tuple[Message, ...]) -> None:
    eos, bos = tokenizer.eos_token or "", tokenizer.bos_token or ""
    segments = template.render(messages)
    whole = render_chat_template(template.jinja(), messages, eos, False, bos)
    assert whole == (segments_text(segments, eos, bos), trained_spans(segments, eos, bos))
    asked = render_chat_template(template.jinja(), messages[:-1], eos, True, bos)
    assert asked.text == segments_text(template.prompt(messages[:-1]), eos, bos)


def check_parse(template: Any, messages: tuple[Message, ...]) -> None:
    answer = messages[-1].content
    if any(stop in answer for stop in (*template.stops, "</s>")):
        return  # what ends an answer cannot be said in one
    whole, prompt = segments_text(template.render(messages)), segments_text(template.prompt(messages[:-1]))
    generated = whole[len(prompt) :]
    for stop in (*template.stops, "</s>"):
        generated = generated.split(stop)[0]
    start = template.answer_start.strip()
    if not (start and answer.strip().startswith(start)):
        assert template.parse(generated) == answer.strip()


PAIRS = [*product(NAMES, KINDS), *zip(NAMES, cycle(MORE_KINDS[len(KINDS) :]), strict=False)]
"""Every template with the kinds that differ most, and with one of the others."""


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_every_template_with_every_kind_of_tokenizer(name, kind, encoder_of):
    @settings(max_examples=12, database=None, suppress_health_check=list(HealthCheck))
    @given(conversations)
    def holds(messages):
        check(encoder_of(name, kind), messages)

    holds()


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", MORE_KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_every_template_with_every_kind_of_tokenizer_at_length(name, kind, encoder_of, tokenizer_of):
    @settings(max_examples=50, database=None, suppress_health_check=list(HealthCheck))
    @given(conversations)
    def holds(messages):
        check(encoder_of(name, kind), messages)

    holds()
    assert_template_contract(load_host().templates[name], tokenizer_of(kind))


@pytest.mark.parametrize("name", NAMES)
def test_the_contract_holds_for_every_template(name, tokenizer_of):
    assert_template_contract(load_host().templates[name], tokenizer_of("metaspace-first"))
