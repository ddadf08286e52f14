"""`own`: a model's own chat template can be used wherever a template can be named."""

from __future__ import annotations

import json

import pytest
from camelid_core.errors import TemplateError
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_core.records import Message
from camelid_core.template_contract import check_contract, make_contract
from camelid_core.templates.hf_chat_template import ModelChatTemplate, read_chat_template
from camelid_core.testing import tiny_tokenizer
from camelid_core.tokenization.encoder import Encoder

SOURCE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '|' + m['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant|' }}{% endif %}"
)
ASKED = (Message("user", "Hi"),)


@pytest.fixture(scope="module")
def brought():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = SOURCE
    return tokenizer


def test_an_encoder_takes_the_tokenizers_own(brought):
    encoder = Encoder(brought, load_host().templates["own"])
    assert encoder.template.name == "own"
    assert encoder.decode(encoder.prompt_ids(ASKED)) == "<|im_start|>user|Hi<|im_end|><|im_start|>assistant|"
    theirs = brought.apply_chat_template([{"role": "user", "content": "Hi"}], add_generation_prompt=True)
    assert encoder.prompt_ids(ASKED) == theirs["input_ids"]


def test_of_several_named_templates_it_is_the_default(brought):
    brought.chat_template = {"default": SOURCE, "tool_use": "{{ 1 }}"}
    assert ModelChatTemplate().for_tokenizer(brought).stops == ("<|im_end|>",)
    brought.chat_template = SOURCE


def test_an_artefact_keeps_what_it_was_trained_with(brought):
    contract = make_contract(load_host().templates["own"], brought)
    assert contract.name == "own"
    again = tiny_tokenizer()
    again.chat_template = contract.jinja  # as an adapter's directory brings it
    check_contract(contract, Encoder(again, ModelChatTemplate()).template, again)
    assert Encoder(again, ModelChatTemplate()).prompt_ids(ASKED) == Encoder(brought, ModelChatTemplate()).prompt_ids(
        ASKED
    )


def test_a_model_without_one_says_so():
    with pytest.raises(TemplateError, match="brings no chat template of its own; choose one with --template"):
        Encoder(tiny_tokenizer(), ModelChatTemplate())


def test_without_a_model_it_is_nothing_yet():
    own = ModelChatTemplate()
    for use in (own.jinja, lambda: own.render(ASKED), lambda: own.prompt(ASKED)):
        with pytest.raises(TemplateError, match="template 'own' is a model's own: say which model"):
            use()


def test_a_model_that_brings_one_is_prompted_with_it(home, tmp_path):
    host = load_host()
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert resolve_model(str(tmp_path), host).template == "alpaca"
    (tmp_path / "chat_template.jinja").write_text(SOURCE)
    assert resolve_model(str(tmp_path), host).template == "own"


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ("[", ""),
        ("[]", ""),
        (json.dumps({"chat_template": SOURCE}), SOURCE),
        (json.dumps({"chat_template": [{"name": "tool_use", "template": "x"}, 1]}), ""),
        (json.dumps({"chat_template": [{"name": "default", "template": SOURCE}]}), SOURCE),
    ],
)
def test_where_a_model_keeps_its_template(tmp_path, config, found):
    assert read_chat_template(tmp_path) == ""
    (tmp_path / "tokenizer_config.json").write_text(config)
    assert read_chat_template(tmp_path) == found
    (tmp_path / "chat_template.jinja").write_text("{{ 1 }}")
    assert read_chat_template(tmp_path) == "{{ 1 }}"
