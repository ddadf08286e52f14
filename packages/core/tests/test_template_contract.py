"""The template contract in an artefact notices every change of template or tokenizer."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest
from camelid_core.builtin.templates import ALPACA, VICUNA
from camelid_core.errors import ArtefactError
from camelid_core.template_contract import check_contract, make_contract
from camelid_core.testing import tiny_tokenizer


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
