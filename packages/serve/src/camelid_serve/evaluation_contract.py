"""The contract of evaluations: what everything that `camelid_evaluations` returns keeps. Knows no model."""

from __future__ import annotations

import math

from camelid_core.plugins import Host, load_host

from .evaluations.evaluation import Answer, Evaluation, Item, ItemSource

_ROWS = 5


def assert_evaluation_contract(evaluation: Evaluation, data: str = "", host: Host | None = None) -> None:
    """Fail with a sentence where an evaluation breaks a rule; `data` is a dataset or file of which it makes items.

    - It has a name, a line of help, and measures of different names.
    - It makes the same items each time, no more than asked for, each with an id of its own.
    - An item has conversations that are no answer alone; of a likelihood two or more, each ending with an answer.
    - Scores are finite numbers of its measures, shares from -1 to 1, for the right answer and for none at all.
    """
    name = evaluation.name
    assert name, "an evaluation has no name"
    assert evaluation.help, f"{name}: it has no line of help"
    measures = {measure.name: measure for measure in evaluation.measures}
    assert measures, f"{name}: it has no measure"
    assert len(measures) == len(evaluation.measures), f"{name}: two measures have one name"
    source = ItemSource(data or evaluation.data, _ROWS, host or load_host())
    assert source.data, f"{name}: it has no data of its own; give the contract some"
    items, again = ([each for each in evaluation.items(source) if isinstance(each, Item)] for _ in range(2))
    assert items, f"{name}: {source.data!r} gives it no item"
    assert items == again, f"{name}: it makes other items the second time"
    assert len(items) <= _ROWS, f"{name}: it makes {len(items)} items where {_ROWS} were asked for"
    assert len({item.id for item in items}) == len(items), f"{name}: two items have one id"
    for item in items:
        _assert_item(evaluation, item)
        for text in (item.gold, ""):
            answers = [Answer(text, logprob=-1.0 - at, characters=1) for at in range(len(item.prompts))]
            for key, value in evaluation.score(item, answers).items():
                assert key in measures, f"{name}: its scores have {key!r}, which is no measure of it"
                assert math.isfinite(value), f"{name}: {key} of {text!r} is {value}"
                assert not measures[key].share or -1 <= value <= 1, f"{name}: the share {key} of {text!r} is {value}"


def _assert_item(evaluation: Evaluation, item: Item) -> None:
    about = f"{evaluation.name}, item {item.id!r}"
    for prompts in (item.prompts, *item.shorter):
        assert prompts, f"{about}: it asks nothing"
        for prompt in prompts:
            assert any(message.role == "user" for message in prompt), f"{about}: a conversation has no question"
        if evaluation.kind == "likelihood":
            assert len(prompts) >= 2, f"{about}: there is nothing to choose from"
            ends = [prompt[-1].role for prompt in prompts]
            assert set(ends) == {"assistant"}, (
                f"{about}: a conversation ends without the answer whose likelihood is asked"
            )
