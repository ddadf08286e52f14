"""Choices of items: what all begin with is read once, the likeliest is chosen on every engine that can tell."""

from __future__ import annotations

from pathlib import Path

import pytest
from camelid_core.errors import ModelError
from camelid_core.records import Message
from camelid_serve.engine import Sampling
from camelid_serve.evaluations.builtin.multiple_choice import EVALUATIONS, score_likelihood
from camelid_serve.evaluations.evaluation import Answer, Item
from camelid_serve.evaluations.item_answers import _encoded, fitting, item_answers
from camelid_serve.loaded_models import LoadedModel


def choice(question: str, *answers: str, **more: object) -> Item:
    prompts = tuple((Message("user", question), Message("assistant", answer)) for answer in answers)
    return Item(question, prompts, about={"right": 0}, **more)  # type: ignore[arg-type]


def test_what_all_choices_begin_with_is_read_once_and_each_keeps_a_token(tiny: LoadedModel) -> None:
    asked = _encoded(tiny, choice("Which?", "The answer is (A)", "The answer is (B)"))
    assert len({tuple(option.prompt) for option in asked}) == 1
    assert len(asked[0].prompt) > 4
    assert all(len(option.ids) >= 1 for option in asked)
    one, longer = _encoded(tiny, choice("How many?", "some", "some of them and then all"))
    assert len(longer.ids) > len(one.ids) >= 1


def test_the_likeliest_choice_is_chosen_in_both_ways_of_an_engine(tiny: LoadedModel) -> None:
    """By the batched path, and by that of engines which only read out prompts."""

    class ReadsPrompts:
        context_length, adapters = tiny.engine.context_length, ()
        prompt_logprobs = staticmethod(tiny.engine.prompt_logprobs)  # type: ignore[attr-defined]

    class Nothing:
        context_length, adapters = 512, ()

    from dataclasses import replace

    items = list(enumerate([choice("Which?", "red", "blue", "a darker green"), choice("What?", "x" * 5000, "y")]))
    results = []
    for loaded in (tiny, replace(tiny, engine=ReadsPrompts())):  # type: ignore[arg-type]
        found = {number: answers for number, answers, _ in item_answers(loaded, EVALUATIONS[-2], items, Sampling(), 4)}
        assert isinstance(found[1], ModelError)  # too long, and an error of its own
        results.append(found[0])
    assert [a.logprob for a in results[0]] == pytest.approx([a.logprob for a in results[1]], abs=2e-3)  # type: ignore[union-attr]
    assert [a.characters for a in results[0]] == [3, 4, 14]  # type: ignore[union-attr]
    with pytest.raises(ModelError, match="tells no log-probabilities"):
        list(item_answers(replace(tiny, engine=Nothing()), EVALUATIONS[-2], items[:1], Sampling(), 4))  # type: ignore[arg-type]


def test_a_choice_is_right_by_likelihood_or_by_likelihood_per_character() -> None:
    item = Item("x", (), about={"right": 1})
    found = score_likelihood(item, [Answer(logprob=-3.0, characters=1), Answer(logprob=-4.0, characters=10)])
    assert (found["right"], found["right-by-length"]) == (0, 1)
    assert 0.2 < found["probability"] < 0.3


def test_examples_are_left_out_where_there_is_no_room(tiny: LoadedModel, base: Path) -> None:
    whole, less, least = (choice(word * 40, "A", "B").prompts for word in ("many words ", "fewer ", "x "))
    item = Item("x", whole, shorter=(less, least), most_tokens=10**6)
    assert fitting(tiny, item) == whole
    assert fitting(tiny, Item("x", whole, shorter=(less, least), most_tokens=150)) in (less, least)
    assert fitting(tiny, Item("x", whole, shorter=(less, least), most_tokens=3)) == least
