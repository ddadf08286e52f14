"""A conversation as a tree: whatever is done with it, no text is lost, and one path through it is shown."""

from __future__ import annotations

import json

import pytest
from camelid_core.errors import UsageError
from camelid_core.records import Message, check_roles
from camelid_serve.answers import AnswerStats
from camelid_serve.engine import Sampling
from camelid_ui.conversation_tree import MAX_TURNS, ConversationTree
from camelid_ui.i18n import Translator
from camelid_ui.services.streaming_answers import Answer
from camelid_ui.views.chat import conversation_column
from camelid_ui.views.markdown import ALL, TEXT, cost, formatted
from hypothesis import given, settings
from hypothesis import strategies as st

DONE, CUT = (AnswerStats(finish, 5, 7, first_token=0.5, tokens_per_second=20.0) for finish in ("stop", "length"))
TEXTS = st.text("ab é\n<", max_size=6)
CHAT_ACTIONS = ("ask", "again", "edit", "reword", "undo", "redo", "flip", "branch", "rate", "prefer")
STEPS = st.lists(st.tuples(st.sampled_from(CHAT_ACTIONS), st.integers(0, 9), TEXTS), max_size=14)


def texts(tree):
    """Every question with its path, and the answers of each model."""
    return {
        (tuple(tree.turns[each].question for each in tree.path_to(index)), name, answer.text)
        for index, turn in enumerate(tree.turns)
        for name, answer in turn.answers.items()
    }


def step(tree, action, number, text):
    if action == "ask" or not tree.path:
        return tree.with_question(text, "system").with_answers({"m": Answer(text, CUT), "other": Answer("o", DONE)})
    index = tree.path[number % len(tree.path)]
    return {
        "again": lambda: tree.with_retry(index).with_answers({"m": Answer(f"{text}2", DONE, ids=(1, 2))}),
        "edit": lambda: tree.with_edited_question(index, text).with_answers({"m": Answer(text, DONE)}),
        "reword": lambda: tree.with_edited_answer(index, "m", text),
        "undo": tree.undone,
        "redo": tree.redone,
        "flip": lambda: tree.with_version(index, 1 if number % 2 else -1),
        "branch": lambda: tree.branched(index),
        "rate": lambda: tree.with_rating(index, "m", 1),
        "prefer": lambda: tree.with_preferred_answer(index, "m"),
    }[action]()


def shown_somewhere(tree):
    """The turns that changing versions, undo and redo lead to."""
    waiting, seen = [tree.at], set()
    while waiting:
        now = ConversationTree(tree.turns, waiting.pop(), tree.ident)
        seen.add(now.at)
        moves = [now.redone(), *([now.undone()] if now.path else [])]
        moves += [now.with_version(index, by) for index in now.path for by in (-1, 1)]
        waiting += [each.at for each in moves if each.at not in seen]
    return {index for at in seen for index in tree.path_to(at)}


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_no_text_is_ever_lost(steps):
    tree = ConversationTree()
    for action, number, text in steps:
        before, tree = tree, step(tree, action, number, text)
        if action == "branch" and before.path:
            assert tree.ident != before.ident
            assert tree.messages("m") == before.messages("m", before.path[len(tree.path) - 1])
        else:
            assert texts(before) <= texts(tree)
            assert tree.ident == before.ident or not before.turns
        for index in tree.path:
            place, of = tree.versions(index)
            assert 1 <= place <= of
            check_roles(tree.prompt("m", index))
    assert shown_somewhere(tree) == set(range(len(tree.turns)))
    assert ConversationTree.from_json(json.loads(json.dumps(tree.to_json()))) == tree


def test_each_model_continues_with_its_own_answers_and_with_anothers_where_it_gave_none():
    tree = (
        ConversationTree()
        .with_question("one", " Be brief. ")
        .with_answers({"base": Answer("base 1", DONE), "tuned": Answer("t 1", DONE)})
    )
    tree = tree.with_question("two", "Be brief.")
    base, tuned, late = tree.answer_requests(("base", "tuned", "late"))
    assert [message.content for message in base.messages] == ["Be brief.", "one", "base 1", "two"]
    assert tuned.messages[2] == Message("assistant", "t 1")
    assert late.messages[2] == Message("assistant", "base 1")


def test_only_unfinished_answers_are_continued():
    tree = (
        ConversationTree()
        .with_question("one")
        .with_answers({"cut": Answer("half", CUT, ids=(3,)), "whole": Answer("all", DONE)})
    )
    (column_,) = tree.continuations(("cut", "whole", "absent"))
    assert (column_.model, column_.messages[-1], column_.partial_answer.ids) == (
        "cut",
        Message("assistant", "half"),
        (3,),
    )
    assert [each.model for each in tree.with_edited_answer(0, "whole", "But").continuations(("whole",))] == ["whole"]
    assert ConversationTree().continuations(("cut",)) == []


def test_a_retry_has_another_seed():
    tree = ConversationTree().with_question("one")
    assert tree.with_seed(Sampling(seed=3)).seed == 3
    assert tree.with_retry(0).with_retry(0).with_seed(Sampling(seed=3)).seed == 5
    assert tree.with_edited_question(0, "uno").with_seed(Sampling(seed=3)).seed == 3


def test_a_preferred_answer_rates_the_others_bad():
    tree = (
        ConversationTree()
        .with_question("q")
        .with_answers({"a": Answer("1", DONE), "b": Answer("2", DONE)})
        .with_retry(0)
    )
    tree = (
        tree.with_answers({"a": Answer("3", DONE)})
        .with_edited_question(0, "else")
        .with_answers({"a": Answer("4", DONE)})
    )
    tree = tree.with_preferred_answer(1, "a")
    ratings = [{name: answer.rating for name, answer in turn.answers.items()} for turn in tree.turns]
    assert ratings == [{"a": -1, "b": -1}, {"a": 1}, {"a": 0}]


def test_an_interrupted_answer_is_one_that_was_stopped():
    tree = ConversationTree().with_question("q")
    assert tree.interrupted() == tree
    partial = tree.with_answers({"a": Answer("half", ids=(1, 2)), "b": Answer(""), "c": Answer("done", DONE)})
    answers = partial.interrupted().last.answers
    assert (answers["a"].stats.finish, answers["a"].stats.tokens, answers["a"].unfinished) == ("cancelled", 2, True)
    assert (answers["c"], set(answers)) == (Answer("done", DONE), {"a", "c"})


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        {"version": 2},
        {"version": 1, "turns": [{"question": 3}]},
        {"version": 1, "turns": [{"question": "q", "parent": 0}]},
        {"version": 1, "turns": [], "at": 0},
    ],
)
def test_what_is_no_conversation_is_refused_in_a_sentence(wrong):
    with pytest.raises(UsageError, match=r"this conversation|this is no conversation"):
        ConversationTree.from_json(wrong)


def test_a_column_says_whose_answer_it_is_and_how_it_came_about():
    tree = ConversationTree().with_question("one").with_answers({"tuned": Answer("**text**", DONE)})
    mine, others = (
        conversation_column(tree, "tuned", Translator("en")),
        conversation_column(tree, "base", Translator("en")),
    )
    assert "<strong>text</strong>" in mine
    assert "<small>5 tokens · 20.0 tokens/s · 0.50 s to first token · complete</small>" in mine
    assert "said:" not in mine
    assert "tuned said:" in others
    assert 'data-set="rate"' in mine
    assert 'data-set="rate"' not in conversation_column(tree, "tuned", Translator("en"), can_rate=False)
    assert 'data-set="retry"' in mine
    assert "<button" in conversation_column(tree, "tuned", Translator("en"), ["tuned"])
    assert conversation_column(tree, "tuned", Translator("en"), ["tuned"]).count("<button") == (
        conversation_column(tree, "tuned", Translator("en"), ["tuned"]).count("disabled") + 2  # to close an editor
    )


@given(st.text("<>&\"'`{}$[]()!*_#|\n abjs:/", max_size=60))
@settings(max_examples=60, deadline=None)
def test_no_text_becomes_markup(text):
    evil = f'<img src=x onerror=a>{text}<script>a</script>[x](javascript:a) ![x](http://x/y.png) <a href="x" onclick=a>'
    tree = (
        ConversationTree().with_question(evil).with_answers({"<b>": Answer(evil, AnswerStats("failed", 0), error=evil)})
    )
    shown = conversation_column(tree, "<b>", Translator("en"))
    for forbidden in ("<img", "<script", "<b>", 'href="javascript', '<a href="x"'):
        assert forbidden not in shown


@given(st.lists(st.text("[a*_`\n|", max_size=400), max_size=6), st.integers(0, 9), st.integers(0, 400))
def test_no_page_is_longer_at_markdown_than_it_may_be(texts, at, many):
    texts.insert(min(at, len(texts)), "[" * 10 * many)
    shown = formatted(texts)
    assert len(shown) == len(texts)
    prices = [cost(text) for text in texts]
    assert all(price <= TEXT for price, yes in zip(prices, shown, strict=True) if yes)
    assert sum(price for price, yes in zip(prices, shown, strict=True) if yes) <= ALL
    if sum(prices) <= TEXT:
        assert all(shown)


def test_a_text_that_would_take_too_long_is_shown_as_it_is_written():
    hostile = "[" * 400_000
    tree = (
        ConversationTree()
        .with_question("Why?")
        .with_answers({"m": Answer(f"{hostile}<b>", DONE)})
        .with_question("And?")
    )
    tree = tree.with_answers({"m": Answer("**because**", DONE)})
    shown = conversation_column(tree, "m", Translator("en"))
    assert f'<pre class="unformatted">{hostile}&lt;b&gt;</pre>' in shown
    assert "too many brackets" in shown
    assert "<strong>because</strong>" in shown


def test_a_conversation_of_more_turns_than_are_drawn_is_refused():
    tree = ConversationTree().with_question("Why?").with_answers({"m": Answer("x", DONE)}).to_json()
    turn = tree["turns"][0]
    tree["turns"] = [{**turn, "parent": -1} for _ in range(MAX_TURNS + 1)]
    with pytest.raises(UsageError, match="5,001 turns; at most 5,000"):
        ConversationTree.from_json(tree)
