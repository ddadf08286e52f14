"""What stands beside a question and its answer takes part, and what takes no part is named."""

from __future__ import annotations

import json

import pytest
from camelid_core.errors import DataError
from camelid_core.quality.row_lints import LINTS
from camelid_core.readers import Faults, read, to_record
from camelid_core.readers.row_formats import PROMPT_ANSWER_COLUMNS
from camelid_core.readers.turns import LOSS_KEYS
from camelid_core.writers import write
from hypothesis import given
from hypothesis import strategies as st

COLUMNS = [("instruction", "output"), ("instruction", "response"), *PROMPT_ANSWER_COLUMNS]


def turns(row):
    return [(turn.role, turn.content, turn.context) for turn in to_record(row, "row 1").messages]


@pytest.fixture
def file(tmp_path):
    def write(*rows):
        path = tmp_path / "x.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


def notes(path, **options):
    faults = Faults(**options)
    list(read(path, faults=faults))
    return faults.sentences()


@pytest.mark.parametrize(("asks", "answers"), COLUMNS)
def test_context_history_and_system_take_part_under_every_name_of_a_question(asks, answers):
    row = {asks: "q", answers: "a", "context": "c", "history": [["q1", "a1"]], "system": "s"}
    before = [("system", "s", ""), ("user", "q1", ""), ("assistant", "a1", "")]
    assert turns(row) == [*before, ("user", "q", "c"), ("assistant", "a", "")]
    told = [{"role": "user", "content": "q1"}, {"role": "assistant", "content": "a1"}]
    assert turns(row | {"history": told}) == turns(row)
    if asks != "input" and answers != "chosen":
        assert turns({asks: "q", answers: "a", "input": "", "context": "c"})[0] == ("user", "q", "c")
        assert turns({asks: "q", answers: "a", "input": "i", "context": "c"})[0] == ("user", "q", "i\nc")


@pytest.mark.parametrize(("asks", "answers"), COLUMNS)
@pytest.mark.parametrize("name", ["options", "choices"])
def test_options_stand_after_the_question(asks, answers, name):
    for options, lines in (
        (["trout", "bat"], "(A) trout\n(B) bat"),
        ([12, 7.5], "(A) 12\n(B) 7.5"),
        (["A) trout", "B) bat"], "A) trout\nB) bat"),
        ({"x": "trout", "y": "bat"}, "(x) trout\n(y) bat"),
        ({"text": ["trout", "bat"], "label": ["1", "2"]}, "(1) trout\n(2) bat"),
        ('["trout", "bat"]', "(A) trout\n(B) bat"),
        ("trout or bat", "trout or bat"),
    ):
        assert turns({asks: "q", answers: "B", name: options})[0][1] == f"q\n{lines}"
    with pytest.raises(DataError, match=f"row 1, '{name}': expected a list of options, not '7'"):
        turns({asks: "q", answers: "B", name: 7})


@pytest.mark.parametrize(("asks", "answers"), COLUMNS)
@pytest.mark.parametrize("name", ["rationale", "chain_of_thought"])
def test_a_rationale_stands_before_the_answer(asks, answers, name):
    assert turns({asks: "q", answers: "12", name: "3*4."})[-1][1] == "3*4.\nThe answer is 12."
    assert turns({asks: "q", answers: "It is 12.", name: "3*4."})[-1][1] == "3*4.\nIt is 12."
    assert turns({asks: "q", answers: "12", name: ""})[-1][1] == "12"


def test_a_whole_answer_is_taken_before_a_short_one(file):
    path = file({"question": "q", "response": "It is 12.", "answer": "12"})
    assert next(read(path)).answer == "It is 12."
    assert notes(path) == ["Columns that are not used: 'answer' in 1 row."]
    assert turns({"question": "q", "response": None, "answer": "12"})[-1][1] == "12"


@given(
    st.sampled_from([dict.fromkeys(pair, "x") for pair in COLUMNS] + [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        {"prompt": "q", "chosen": "a", "rejected": "b"},
    ]),
    st.dictionaries(st.text("uvw", min_size=1), st.integers() | st.text(min_size=1) | st.just([1]), max_size=4),
    st.dictionaries(st.text("xyz", min_size=1), st.sampled_from([None, "", [], {}]), max_size=4),
)  # fmt: skip
def test_every_column_that_holds_something_and_takes_no_part_is_named(tmp_path_factory, row, more, empty):
    path = tmp_path_factory.mktemp("x") / "x.jsonl"
    path.write_text(json.dumps({"id": 1, "source": "s", "tags": ["t"], **row, **more, **empty}))
    named = ", ".join(f"{name!r} in 1 row" for name in more)
    assert notes(path) == ([f"Columns that are not used: {named}."] if more else [])


def test_unused_columns_without_end_are_counted_and_not_kept(file):
    path = file({"instruction": "q", "output": "a", **{f"c{number}": 1 for number in range(80)}})
    (sentence,) = notes(path)
    assert sentence.count(" in 1 row") == 50
    assert sentence.endswith(", others in 30 rows.")


@pytest.mark.parametrize(("asks", "answers"), COLUMNS)
def test_an_answer_of_null_is_no_answer_in_any_format(file, asks, answers):
    path = file({asks: "q", answers: None}, {asks: "q", answers: "a"})
    with pytest.raises(DataError, match=rf"line 1, '{answers}': there is no answer \(null\)") as caught:
        list(read(path))
    assert caught.value.kind == "no_answer"
    assert [record.answer for record in read(path, faults=Faults(strict=False))] == ["a"]
    assert turns({asks: "q", answers: ""})[-1] == ("assistant", "", "")


QUESTION, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}


@pytest.mark.parametrize("key", LOSS_KEYS)
@pytest.mark.parametrize("off", [False, 0, 0.0])
@pytest.mark.parametrize("shape", ["messages", "conversations"])
def test_an_answer_can_be_left_out_of_the_loss(file, key, off, shape):
    said = {"from": "gpt", "value": "a"} if shape == "conversations" else ANSWER
    asked = {"from": "human", "value": "q"} if shape == "conversations" else QUESTION
    path = file({shape: [asked, said | {key: off}, asked, said | {key: True}]})
    (record,) = read(path)
    assert [turn.trained for turn in record.messages] == [True, False, True, True]
    assert notes(path) == []
    again = path.with_name("again.jsonl")
    write([record], again, "messages")
    assert next(read(again)).messages == record.messages
    for name in LINTS:
        fix = LINTS[name].fix
        fixed = fix(record) if fix else None
        assert fixed is None or [turn.trained for turn in fixed.messages] == [True, False, True, True]


def test_marks_that_cannot_be_kept_are_noted(file):
    assert notes(file({"messages": [QUESTION, ANSWER | {"weight": 0.5}]})) == [
        "1 message had a weight other than 0 and 1, which was taken as 1"
    ]
    (note,) = notes(file({"messages": [QUESTION | {"train": True}, ANSWER]}))
    assert "answers alone are learnt from" in note
    (note,) = notes(file({"messages": [QUESTION, ANSWER | {"train": False}]}))
    assert note.startswith("1 conversation had no answer to learn from")
    with pytest.raises(DataError, match="message 2, 'loss': expected true, false or a number, not 'no'"):
        notes(file({"messages": [QUESTION, ANSWER | {"loss": "no"}]}))


def test_keys_of_messages_that_are_not_read_are_named(file):
    thought = ANSWER | {"reasoning_content": "because", "thinking": "hm", "name": None, "tool_calls": []}
    assert notes(file({"messages": [QUESTION, thought], "tools": [{"name": "area"}]})) == [
        "Keys of messages that are not used: 'reasoning_content' in 1 message, 'thinking' in 1 message.",
        "Columns that are not used: 'tools' in 1 row.",
    ]


@pytest.mark.parametrize(("value", "tags"), [(3, ("3",)), (2.0, ("2",)), (["a", 7], ("a", "7")), (float("nan"), ())])
@pytest.mark.parametrize("name", ["tags", "category"])
def test_a_tag_may_be_a_number(name, value, tags):
    assert to_record({"instruction": "q", "output": "a", name: value}, "row 1").tags == tags
    with pytest.raises(DataError, match=rf"row 1, '{name}': a tag is a text or a number, not "):
        to_record({"instruction": "q", "output": "a", name: {"a": 1}}, "row 1")
