"""Thumbs and preference pairs from a conversation: with the prompt that the model was given, and the last rating
counts."""

from __future__ import annotations

import pytest
from camelid_core.errors import UsageError
from camelid_core.paths import data_dir
from camelid_core.records import Message
from camelid_serve.chat.transcripts import Transcript, jsonl, parse
from camelid_ui.answer_feedback import answer_id, conversation_json, rated_answers, transcripts
from camelid_ui.conversation_tree import ConversationTree
from camelid_ui.services.feedback import PAIRS, THUMBS
from camelid_ui.services.streaming_answers import Answer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def tree() -> ConversationTree:
    """Two models, then a retry of the same question."""
    first = (
        ConversationTree()
        .with_question("Two?", "Be brief.")
        .with_answers({"base": Answer("No."), "tuned": Answer("Yes.")})
    )
    return first.with_retry(0, "Be brief.").with_answers({"tuned": Answer("Perhaps.")})


def press(services, now: ConversationTree, index: int, model: str, rating: int) -> ConversationTree:
    now = now.with_rating(index, model, rating)
    services.feedback.rate(rated_answers(now, index, model), answer_id(now, index, model))
    return now


def rows(services, name: str) -> list[tuple[str, str | None, bool | None]]:
    if name not in services.data.collection.names():
        return []
    if not services.data.collection.show(name).rows:
        return []
    return [(row.answer, row.rejected, row.label) for row in services.data.collection.records(name)]


def test_thumbs_and_pairs_are_datasets_that_can_be_trained_on(services):
    now = press(services, tree(), 0, "tuned", 1)
    assert rows(services, THUMBS) == [("Yes.", None, True)]
    assert PAIRS not in services.data.collection.names()
    now = press(services, now, 0, "base", -1)
    assert rows(services, PAIRS) == [("Yes.", "No.", None)]
    now = press(services, now, 1, "tuned", -1)
    assert rows(services, PAIRS) == [("Yes.", "No.", None), ("Yes.", "Perhaps.", None)]
    assert THUMBS in [name for name, _ in services.data.collection.sources()]
    record = next(iter(services.data.collection.records(PAIRS)))
    assert record.prompt == (Message("system", "Be brief."), Message("user", "Two?"))

    now = press(services, now, 0, "base", 1)
    assert rows(services, PAIRS) == [("Yes.", "Perhaps.", None), ("No.", "Perhaps.", None)]
    now = press(services, now, 1, "tuned", 0)
    assert rows(services, PAIRS) == []
    assert sorted(rows(services, THUMBS)) == [("No.", None, True), ("Yes.", None, True)]
    now = now.with_preferred_answer(1, "tuned")
    services.feedback.rate(rated_answers(now, 1, "tuned"), answer_id(now, 1, "tuned"))
    assert sorted(rows(services, PAIRS)) == [("Perhaps.", "No.", None), ("Perhaps.", "Yes.", None)]
    assert sorted(rows(services, THUMBS)) == [("No.", None, False), ("Perhaps.", None, True), ("Yes.", None, False)]
    assert (data_dir() / f"{THUMBS}.jsonl").read_text("utf-8").count("\n") == 8


def test_answers_to_another_prompt_are_no_pair(services):
    now = tree().with_edited_question(0, "Three?", "Be brief.").with_answers({"tuned": Answer("Four.")})
    for index, model, rating in ((0, "tuned", 1), (2, "tuned", -1)):
        now = press(services, now, index, model, rating)
    assert rows(services, PAIRS) == []
    later = now.with_question("Why?").with_answers({"base": Answer("So."), "tuned": Answer("Because.")})
    later = press(services, press(services, later, 3, "base", 1), 3, "tuned", -1)
    assert later.prompt("base") == later.prompt("tuned")  # both went on from the tuned one's answer
    assert rows(services, PAIRS) == [("So.", "Because.", None)]


def test_what_cannot_be_trained_on_is_refused(services):
    now = ConversationTree().with_question("Two?").with_answers({"a": Answer(" "), "b": Answer("\ud800", rating=1)})
    for model, sentence in (("a", "empty"), ("b", "surrogate"), ("c", "not there")):
        with pytest.raises(UsageError, match=sentence):
            services.feedback.rate(rated_answers(now, 0, model), answer_id(now, 0, model))
    assert rows(services, THUMBS) == []


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(str.strip)
TURNS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=TURNS, system=st.sampled_from(["", "Be brief."]))
def test_a_conversation_that_is_saved_and_read_says_the_same(turns, system, tmp_path):
    now = ConversationTree()
    for question, answer in turns:
        now = now.with_question(question, system).with_answers({"tuned": Answer(answer)})
    (saved,) = transcripts(now, {})
    path = tmp_path / "saved.jsonl"
    path.write_text(jsonl([saved]), "utf-8")
    (found,) = parse(path, 5)[0]
    again = ConversationTree.from_json(conversation_json(found))
    assert again.messages("tuned") == now.messages("tuned")
    assert again.ident != now.ident
    assert ConversationTree.from_json(again.to_json()) == again
    assert isinstance(found, Transcript)


def test_each_model_has_a_transcript_of_its_own():
    now = tree().with_version(1, -1)
    saved = transcripts(now, {"template": "chatml"})
    assert [(each.model, each.messages[-1].content) for each in saved] == [("base", "No."), ("tuned", "Yes.")]
    assert len({each.ident for each in saved}) == 2
    assert transcripts(ConversationTree(), {}) == []
