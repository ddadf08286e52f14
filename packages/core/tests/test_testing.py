"""The contracts that plugin authors run do fail where a template or an adapter is broken."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from camelid_core.builtin.templates import ALPACA, CHATML, VICUNA
from camelid_core.integrity import fingerprint
from camelid_core.models.adapters import ModelAdapter
from camelid_core.templates.role_template import RoleTemplate
from camelid_core.templates.segments import Segment, segments_text
from camelid_core.testing import (
    CONVERSATIONS,
    assert_adapter_contract,
    assert_template_contract,
    tiny_model,
    tiny_tokenizer,
    write_jsonl,
)


@pytest.fixture(scope="module")
def plain_tokenizer() -> Any:
    return tiny_tokenizer()


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A template that behaves like `inner` unless told otherwise below."""

    inner: RoleTemplate = VICUNA

    @property
    def name(self):
        return "broken"

    @property
    def help(self):
        return self.inner.help

    @property
    def stops(self):
        return self.inner.stops

    def render(self, messages):
        return self.inner.render(messages)

    def prompt(self, messages):
        return self.inner.prompt(messages)

    def parse(self, text):
        return self.inner.parse(text)

    def jinja(self):
        return self.inner.jinja()


class PromptWithAnotherTail(Wrapped):
    def prompt(self, messages):
        return [*self.inner.prompt(messages), Segment("\n", control=True)]


class NothingTrained(Wrapped):
    def render(self, messages):
        return [Segment(segment.text, False, segment.control) for segment in self.inner.render(messages)]


class PromptTrained(Wrapped):
    def render(self, messages):
        first, *rest = self.inner.render(messages)
        return [Segment(first.text, True, first.control), *rest]


class AnswerLost(Wrapped):
    def parse(self, text):
        return text[:3]


class OtherJinja(Wrapped):
    def jinja(self):
        return ALPACA.jinja()


class PersonTrusted(Wrapped):
    def render(self, messages):
        return [Segment(segment.text, segment.trained, True) for segment in self.inner.render(messages)]

    def prompt(self, messages):
        return [Segment(segment.text, segment.trained, True) for segment in self.inner.prompt(messages)]


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        (PromptWithAnotherTail(), "the prompt is no prefix of the conversation"),
        (NothingTrained(), "the answer's first token is not trained"),
        (PromptTrained(), "the prompt is"),
        (AnswerLost(), "parse gave"),
        (OtherJinja(), "Jinja renders"),
        (PersonTrusted(), "text of a person became a control token"),
        (replace(CHATML, name="broken", stops=("a",)), "parse gave"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_a_broken_template_fails_with_its_name_and_what_is_wrong(template, complaint, plain_tokenizer):
    with pytest.raises(AssertionError, match=f"broken: .*{complaint}"):
        assert_template_contract(template, plain_tokenizer)


def test_the_unbroken_one_passes(plain_tokenizer):
    assert_template_contract(Wrapped(), plain_tokenizer)


def test_the_contracts_conversations_cover_system_context_and_several_turns():
    roles = [message.role for conversation in CONVERSATIONS for message in conversation]
    assert "system" in roles
    assert any(message.context for conversation in CONVERSATIONS for message in conversation)
    assert any(len(conversation) > 3 for conversation in CONVERSATIONS)


@pytest.mark.parametrize(
    ("adapter", "complaint"),
    [
        (ModelAdapter("mine", "", ("x",), template="alpacca"), "mine: template 'alpacca' is not registered"),
        (ModelAdapter("mine", "", ("x",), lora_targets=("query",)), r"mine: no linear layer is called \['query'\]"),
    ],
)
def test_a_broken_adapter_fails_with_its_name_and_what_is_wrong(adapter, complaint):
    names = [f"layers.{index}.{name}" for index in range(2) for name in ("q_proj", "v_proj")]
    with pytest.raises(AssertionError, match=complaint):
        assert_adapter_contract(adapter, ["alpaca"], names)
    assert_adapter_contract(ModelAdapter("mine", "", ("x",)), ["alpaca"], names)


def test_a_tiny_model_is_the_same_for_the_same_seed_and_another_for_another(tmp_path):
    prints = [fingerprint(tiny_model(tmp_path / str(n), "llama", seed)) for n, seed in enumerate((0, 0, 1))]
    assert prints[0] == prints[1] != prints[2]


def test_a_tiny_tokenizer_takes_any_text(plain_tokenizer):
    text = "Ünïcode 中国 \n\t🦙"
    assert plain_tokenizer.decode(plain_tokenizer(text)["input_ids"]) == text
    assert plain_tokenizer.pad_token_id != plain_tokenizer.eos_token_id


def test_rows_written_for_a_test_are_one_object_a_line(tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", [{"a": "中"}, {"b": 1}])
    assert path.read_text(encoding="utf-8") == '{"a": "中"}\n{"b": 1}\n'


def test_the_text_of_a_wrapped_template_is_that_of_the_inner_one():
    assert segments_text(Wrapped().render(CONVERSATIONS[0])) == segments_text(VICUNA.render(CONVERSATIONS[0]))
