"""What Camelid expects of a plugin, and what this one promises."""

from __future__ import annotations

from types import SimpleNamespace

from camelid_core.plugins import load_host
from camelid_core.records import Message
from camelid_core.templates.segments import segments_text
from camelid_core.testing import (
    assert_adapter_contract,
    assert_dataset_contract,
    assert_template_contract,
    tiny_tokenizer,
)
from camelid_minimal.adapter import PERSIMMON
from camelid_minimal.callback import HALFWAY
from camelid_minimal.dataset import GREETINGS
from camelid_minimal.template import QUESTION_ANSWER
from transformers import TrainerControl, TrainerState


def test_the_template_keeps_the_contract():
    assert_template_contract(QUESTION_ANSWER, tiny_tokenizer())


def test_the_template_reads_as_it_should():
    messages = [Message("user", "Why?"), Message("assistant", "Because.")]
    assert segments_text(QUESTION_ANSWER.render(messages)) == "Question: Why?\nAnswer: Because.</s>"


def test_the_adapter_keeps_the_contract():
    linear = ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h")
    assert_adapter_contract(
        PERSIMMON, [QUESTION_ANSWER.name], [f"layers.{n}.{name}" for n in range(2) for name in linear]
    )


def test_the_dataset_has_the_rows_it_says_and_holds_some_out():
    assert_dataset_contract(GREETINGS)
    assert (GREETINGS.rows, GREETINGS.heldout_rows) == (40, 10)


def test_the_listener_speaks_once():
    said = []
    context = SimpleNamespace(emit=lambda kind, **values: said.append(values["text"]))
    callback = HALFWAY.make(None, context)
    for step in range(1, 7):
        callback.on_step_end(None, TrainerState(global_step=step, max_steps=6), TrainerControl())
    assert said == ["Half of the 6 steps are done."]


def test_camelid_finds_it():
    host = load_host()
    assert "camelid-minimal" in [plugin.name for plugin in host.plugins], "install it first: pip install -e ."
    assert host.check() == []
    assert host.provided_by("camelid-minimal") == {
        "camelid_model_adapters": ["persimmon"],
        "camelid_prompt_templates": ["question-answer"],
        "camelid_datasets": ["greetings"],
        "camelid_trainer_callbacks": ["halfway"],
    }
