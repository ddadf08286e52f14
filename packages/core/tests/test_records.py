"""What a record is, and which conversations can be learned from."""

from __future__ import annotations

import pytest
from camelid_core.errors import DataError
from camelid_core.records import ROLES, Message, Record, alpaca, check_roles, take_turns
from hypothesis import given
from hypothesis import strategies as st

roles = st.lists(st.sampled_from(ROLES), max_size=7)


def _alternate(names: list[str]) -> bool:
    turns = names[1:] if names[:1] == ["system"] else names
    return bool(turns) and all(name == ("user", "assistant")[index % 2] for index, name in enumerate(turns))


@given(roles)
def test_a_conversation_is_an_optional_system_message_then_user_and_assistant_in_turn(names):
    messages = [Message(name, "x") for name in names]
    if _alternate(names):
        check_roles(messages)
    else:
        with pytest.raises(DataError):
            check_roles(messages)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ([], "the conversation is empty"),
        (["system"], "only a system message"),
        (["assistant"], "turn 1 is from 'assistant' where 'user' was expected"),
        (["system", "system", "user"], "turn 2 is from 'system' where 'user' was expected"),
        (["user", "user"], "turn 2 is from 'user' where 'assistant' was expected"),
    ],
)
def test_the_first_turn_out_of_place_is_named(names, sentence):
    with pytest.raises(DataError, match=sentence):
        check_roles([Message(name, "x") for name in names])


@given(roles)
def test_prompt_and_answer_part_a_record_without_loss(names):
    record = Record(tuple(Message(name, f"text {index}") for index, name in enumerate(names)))
    answered = bool(names) and names[-1] == "assistant"
    assert (*record.prompt, *record.messages[len(record.prompt) :]) == record.messages
    assert len(record.messages) - len(record.prompt) == answered
    assert record.answer == (record.messages[-1].content if answered else "")


def test_context_is_kept_apart_and_joined_only_when_asked():
    record = alpaca("Add.", "5", "2 and 3", id="7", source="sums")
    assert record.messages == (Message("user", "Add.", "2 and 3"), Message("assistant", "5"))
    assert record.messages[0].text == "Add.\n2 and 3"
    assert record.messages[1].text == "5"
    assert (record.id, record.source) == ("7", "sums")


@pytest.mark.parametrize(
    ("roles", "in_turn"), [("ua", 1), ("sua", 1), ("aua", 1), ("uua", 0), ("uaa", 0), ("uasua", 0), ("ssua", 0)]
)
def test_turns_are_taken_or_not(roles, in_turn):
    names = {"s": "system", "u": "user", "a": "assistant"}
    assert take_turns([Message(names[each], "x") for each in roles]) == bool(in_turn)
