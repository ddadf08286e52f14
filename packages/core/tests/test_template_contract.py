"""The template contract in an artefact notices every change of template or tokenizer."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest
from camelid_core.builtin.templates import ALPACA, VICUNA
from camelid_core.errors import ArtefactError
from camelid_core.records import Message
from camelid_core.template_contract import check_contract, make_contract
from camelid_core.templates.hf_chat_template import ModelChatTemplate
from camelid_core.testing import takes_system, tiny_tokenizer
from camelid_core.tokenization.encoder import Encoder
from tokenizers import processors


def test_a_contract_holds_with_what_it_was_made_from(template, tokenizer):
    contract = make_contract(template, tokenizer, overrides="chatml")
    check_contract(contract, template, tokenizer)
    assert contract.name == template.name
    assert contract.overrides == "chatml"
    assert contract.sha256 == hashlib.sha256(contract.jinja.encode()).hexdigest()
    assert contract.reference_ids


def test_one_changed_space_in_the_template_is_noticed():
    tokenizer = tiny_tokenizer()
    contract = make_contract(VICUNA, tokenizer)
    changed = dataclasses.replace(VICUNA, assistant="ASSISTANT: ")
    with pytest.raises(
        ArtefactError, match=r"gives other tokens than this model was trained with \(from token \d+ on\)"
    ):
        check_contract(contract, changed, tokenizer)


def test_another_tokenizer_is_noticed():
    contract = make_contract(ALPACA, tiny_tokenizer())
    with pytest.raises(ArtefactError, match="the template or the tokenizer has changed"):
        check_contract(contract, ALPACA, tiny_tokenizer(vocabulary=320))


def test_a_contract_without_reference_promises_nothing():
    contract = make_contract(ALPACA, tiny_tokenizer()).model_copy(update={"reference_ids": []})
    check_contract(contract, VICUNA, tiny_tokenizer())


def adding(single: str):
    """A tokenizer that puts `single` around a text."""
    tokenizer = tiny_tokenizer(("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<pad>"))
    tokenizer.bos_token = "<s>"
    ids = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("<s>", "</s>")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=ids)
    return tokenizer


ADDING = ["$A", "<s> $A", "$A </s>", "<s> $A </s>"]
CONVERSATIONS = (
    (Message("user", "Hi there"),),
    (Message("user", "Sum", "4\n5"),),
    (Message("system", "Be brief."), Message("user", "Hi")),
)


def assert_plain_transformers_gives_the_trained_ids(template, tokenizer):
    contract, encoder = make_contract(template, tokenizer), Encoder(tokenizer, template)
    for messages in CONVERSATIONS[: 3 if takes_system(encoder.template) else 2]:
        turns = [{"role": m.role, "content": m.content, **({"context": m.context} if m.context else {})}
                 for m in messages]  # fmt: skip
        theirs = tokenizer.apply_chat_template(turns, chat_template=contract.jinja, add_generation_prompt=True)
        assert theirs["input_ids"] == encoder.prompt_ids(messages)


@pytest.mark.parametrize("single", ADDING)
def test_apply_chat_template_gives_the_trained_ids_whatever_the_tokenizer_adds(template, single):
    assert_plain_transformers_gives_the_trained_ids(template, adding(single))


def test_apply_chat_template_gives_the_trained_ids_with_every_kind_of_tokenizer(template, tokenizer):
    assert_plain_transformers_gives_the_trained_ids(template, tokenizer)


@pytest.mark.parametrize("single", ADDING)
@pytest.mark.parametrize("bos", ["", "{{ bos_token }}"])
def test_a_models_own_template_gives_the_ids_of_apply_chat_template(single, bos):
    tokenizer = adding(single)
    tokenizer.chat_template = (
        bos + "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    encoder = Encoder(tokenizer, ModelChatTemplate())
    theirs = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], add_generation_prompt=True)
    assert encoder.prompt_ids([Message("user", "Hi")]) == theirs["input_ids"]
    tokenizer.chat_template = make_contract(ModelChatTemplate(), tokenizer).jinja  # as an artefact brings it
    assert Encoder(tokenizer, ModelChatTemplate()).prompt_ids([Message("user", "Hi")]) == theirs["input_ids"]
