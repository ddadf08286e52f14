"""Rows that prefer one answer to another, or judge one: read in the words people use for them, and kept."""

from __future__ import annotations

import json

import pytest
from camelid_core.errors import DataError
from camelid_core.readers import Faults, detect, read, to_record
from camelid_core.records import Message, Record
from camelid_core.testing import write_jsonl
from camelid_core.writers import write
from hypothesis import given
from hypothesis import strategies as st


def turn(role, text):
    return {"role": role, "content": text}


def said(record):
    return [(message.role, message.text) for message in record.messages]


QUESTION, ANSWER, WORSE = turn("user", "q"), turn("assistant", "a"), turn("assistant", "b")
SHORT = [("user", "q"), ("assistant", "a")]
WITH_SYSTEM = [("system", "s"), *SHORT]
LONG = [("user", "q1"), ("assistant", "a1"), *SHORT]
EARLIER = [turn("user", "q1"), turn("assistant", "a1"), QUESTION]
ROWS = {
    "texts": ({"prompt": "q", "chosen": "a", "rejected": "b"}, SHORT),
    "orca": ({"system": "s", "question": "q", "chosen": "a", "rejected": "b"}, WITH_SYSTEM),
    "alpaca": (
        {"instruction": "q", "input": "c", "chosen": "a", "rejected": "b"},
        [("user", "q\nc"), ("assistant", "a")],
    ),
    "messages": ({"prompt": EARLIER, "chosen": [ANSWER], "rejected": [WORSE]}, LONG),
    "messages that repeat the prompt": (
        {"prompt": EARLIER, "chosen": [*EARLIER, ANSWER], "rejected": [*EARLIER, WORSE]},
        LONG,
    ),
    "ultrafeedback": (
        {
            "prompt": "q",
            "messages": [QUESTION, ANSWER],
            "chosen": [QUESTION, ANSWER],
            "rejected": [QUESTION, WORSE],
            "score_chosen": 8.5,
        },
        SHORT,
    ),
    "argilla": ({"dataset": "x", "chosen": [*EARLIER, ANSWER], "rejected": [*EARLIER, WORSE], "rating": 5}, LONG),
    "argilla with a system column": (
        {"system": "s", "input": "q", "chosen": [QUESTION, ANSWER], "rejected": [QUESTION, WORSE]},
        WITH_SYSTEM,
    ),
    "sharegpt": (
        {
            "conversations": [{"from": "human", "value": "q"}],
            "chosen": {"from": "gpt", "value": "a"},
            "rejected": {"from": "gpt", "value": "b"},
        },
        SHORT,
    ),
    "transcripts": (
        {"chosen": "\n\nHuman: q1\n\nAssistant: a1\n\nHuman: q\n\nAssistant: a",
         "rejected": "\n\nHuman: q1\n\nAssistant: a1\n\nHuman: q\n\nAssistant: b"},
        LONG,
    ),
    "cells of a table": (
        {"prompt": json.dumps(EARLIER), "chosen": json.dumps([ANSWER]), "rejected": json.dumps([WORSE])},
        LONG,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("row", "expected"), ROWS.values(), ids=ROWS)
def test_the_better_answer_is_the_records_own(row, expected):
    record = to_record(row, "row 1")
    assert (said(record), record.rejected, record.label) == (expected, "b", None)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            {"chosen": [QUESTION, ANSWER], "rejected": [turn("user", "other"), WORSE]},
            r"row 1: 'chosen' and 'rejected' must answer the same; they part before the last turn",
        ),
        ({"chosen": "a", "rejected": "b"}, r"row 1: 'chosen' answers nothing: there is no column 'conversations'"),
        ({"prompt": "q", "chosen": 3, "rejected": "b"}, r"row 1, 'chosen': expected text, not '3'"),
        ({"prompt": "q", "chosen": "a", "rejected": None}, r"row 1, 'rejected': expected text, not 'None'"),
        (
            {"prompt": [QUESTION], "chosen": [ANSWER, QUESTION], "rejected": [WORSE]},
            r"'chosen' must end with an answer",
        ),
        ({"prompt": [], "chosen": "a", "rejected": "b"}, r"'prompt' must be a list with at least one message"),
    ],
)
def test_what_is_no_pair_is_said_with_its_place(row, sentence):
    with pytest.raises(DataError, match=sentence):
        to_record(row, "row 1")


def test_a_file_names_line_and_column(tmp_path):
    path = write_jsonl(tmp_path / "pairs.jsonl", [ROWS["texts"][0], {"prompt": "q", "chosen": "a", "rejected": ["b"]}])
    with pytest.raises(DataError, match=r"^pairs\.jsonl, line 2, 'rejected', message 1: expected an object"):
        list(read(path))
    assert detect(write_jsonl(path, [ROWS["sharegpt"][0]])).reason == (
        "JSON Lines; the first row has 'chosen' and 'rejected', as preferences has."
    )


def test_pairs_without_a_difference_are_noted(tmp_path):
    faults = Faults()
    list(read(write_jsonl(tmp_path / "x.jsonl", [{"prompt": "q", "chosen": "a", "rejected": "a"}]), faults=faults))
    assert faults.sentences() == ["1 row had the same answer chosen and rejected, which teaches nothing"]


@pytest.mark.parametrize(
    ("row", "label"),
    [
        ({"prompt": "q", "completion": "a", "label": True}, True),
        ({"prompt": "q", "completion": "a", "label": "False"}, False),
        ({"prompt": [QUESTION], "completion": [ANSWER], "label": True}, True),
        ({"messages": [QUESTION, ANSWER], "label": False}, False),
        ({"instruction": "q", "output": "a", "kto_tag": True}, True),
        ({"conversations": [QUESTION, ANSWER], "kto_tag": False}, False),
        *(
            ({"prompt": "q", "completion": "a", "label": bad}, False)
            for bad in (0, 0.0, "0", "0.0", " Bad", "rejected")
        ),
        *(({"prompt": "q", "completion": "a", "label": good}, True) for good in (1, 1.0, "1", 2, "Good", "positive")),
        *(({"instruction": "q", "output": "a", "kto_tag": bad}, False) for bad in ("bad", 0, "false")),
        *(({"prompt": "q", "completion": "a", "label": none}, None) for none in (None, float("nan"), "sports", [])),
        ({"question": "q", "answer": "a", "label": False}, None),
        ({"prompt": "q", "completion": "a"}, None),
    ],
)
def test_a_label_is_a_truth_value_that_judges_the_answer(row, label):
    record = to_record(row, "row 1")
    assert (said(record), record.label, record.rejected) == (SHORT, label, None)


@given(
    st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), st.none() | st.booleans()
)
def test_judgements_survive_writing_and_reading(tmp_path_factory, rejected, label):
    record = Record((Message("user", "q"), Message("assistant", "a")), "1", "x", (), rejected, label)
    path = tmp_path_factory.mktemp("w") / "x.jsonl"
    write([record], path, "messages", Faults())
    assert list(read(path)) == [record]


def test_a_format_without_a_place_says_what_it_leaves_behind(tmp_path):
    record = Record((Message("user", "q"), Message("assistant", "a")), rejected="b")
    faults = Faults()
    write([record], tmp_path / "x.json", "alpaca", faults)
    assert "1 row had a rejected answer or a label, which was left behind" in faults.sentences()[0]
    with pytest.raises(DataError, match="a table has no place for 'rejected'"):
        write([record], tmp_path / "x.parquet", "messages", Faults())


def test_a_label_that_is_no_judgement_is_noted(tmp_path):
    path = tmp_path / "x.jsonl"
    rows = [{"prompt": "q", "completion": "a", "label": label} for label in ("sports", "politics", "1", None)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    faults = Faults()
    assert [record.label for record in read(path, faults=faults)] == [None, None, True, None]
    assert faults.sentences() == ["2 rows had a 'label' that says neither good nor bad, and were taken as unlabelled"]


@pytest.mark.parametrize("name", ["prompt", "instruction", "question"])
def test_what_stands_beside_a_prompt_takes_part_in_a_pair(name):
    row = {name: "q", "context": "c", "system": "s", "history": [["q1", "a1"]], "options": ["x", "y"]}
    record = to_record(row | {"chosen": "a", "rejected": "b"}, "row 1")
    assert [(turn.role, turn.content, turn.context) for turn in record.messages] == [
        ("system", "s", ""), ("user", "q1", ""), ("assistant", "a1", ""), ("user", "q\n(A) x\n(B) y", "c"),
        ("assistant", "a", ""),
    ]  # fmt: skip


def test_openais_pairs_are_read_and_their_tools_named(tmp_path):
    asked = {"messages": [{"role": "system", "content": "s"}, QUESTION], "tools": [{"name": "area"}]}
    answers = {"preferred_output": [ANSWER], "non_preferred_output": [{"role": "assistant", "content": "b"}]}
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"input": asked, **answers}) + "\n")
    faults = Faults()
    (record,) = read(path, faults=faults)
    assert [(turn.role, turn.content) for turn in record.messages] == [
        ("system", "s"),
        ("user", "q"),
        ("assistant", "a"),
    ]
    assert record.rejected == "b"
    assert faults.sentences() == ["Columns that are not used: 'input.tools' in 1 row."]
    with pytest.raises(DataError, match="'input': expected an object with 'messages', not 'q'"):
        to_record({"input": "q", **answers}, "row 1")
