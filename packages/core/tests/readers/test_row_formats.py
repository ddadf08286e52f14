"""Rows of every format become the record that people of that format expect."""

from __future__ import annotations

import json

import pytest
from camelid_core.errors import DataError, UnknownName, UsageError
from camelid_core.readers import READERS, Columns, Faults, read, to_record
from camelid_core.readers.dialogue import dialogue
from camelid_core.records import Message, Record


def said(row):
    return [(m.role, m.content) for m in to_record(row, "row 1").messages]


ASKED = [("user", "q"), ("assistant", "a")]
LONG = [("system", "s"), ("user", "q1"), ("assistant", "a1"), ("user", "q"), ("assistant", "a")]
CHAT = [{"role": role, "content": text} for role, text in LONG]
SHARED = [{"from": {"user": "human", "assistant": "gpt"}.get(role, role), "value": text} for role, text in LONG]
ROWS = {
    "alpaca": ({"instruction": "q", "input": "", "output": "a"}, ASKED),
    "alpaca with null input": ({"instruction": "q", "input": None, "output": "a"}, ASKED),
    "alpaca with system and history": (
        {"instruction": "q", "output": "a", "system": "s", "history": [["q1", "a1"]]},
        LONG,
    ),
    "alpaca with empty extras": ({"instruction": "q", "output": "a", "system": "", "history": []}, ASKED),
    "alpaca with a history of a table": (
        {"instruction": "q", "output": "a", "system": "s", "history": '[["q1", "a1"]]'},
        LONG,
    ),
    "airoboros": ({"instruction": "q", "response": "a", "category": "orca"}, ASKED),
    "messages": ({"messages": CHAT}, LONG),
    "messages of parts": ({"messages": [{**CHAT[1], "content": [{"type": "text", "text": "q"}]}, CHAT[4]]}, ASKED),
    "messages by a developer": ({"messages": [{"role": "developer", "content": "s"}, *CHAT[1:]]}, LONG),
    "messages as the text of a cell": ({"messages": json.dumps(CHAT)}, LONG),
    "tulu": ({"dataset": "cot", "id": "cot_1", "messages": CHAT}, LONG),
    "sharegpt": ({"id": "x_0", "conversations": SHARED}, LONG),
    "sharegpt with a system column": ({"conversations": SHARED[1:], "system": "s"}, LONG),
    "sharegpt of other bots": (
        {"conversations": [{"from": "Human", "value": "q"}, {"from": "bing", "value": "a"}]},
        ASKED,
    ),
    "sharegpt with roles": ({"conversations": CHAT}, LONG),
    "prompt and completion": ({"prompt": "q", "completion": "a"}, ASKED),
    "prompt and completion of messages": ({"prompt": CHAT[:4], "completion": CHAT[4:]}, LONG),
    "preferences": ({"prompt": "q", "chosen": "a", "rejected": "b"}, ASKED),
    "preferences that repeat the prompt": (
        {"prompt": CHAT[:4], "chosen": CHAT, "rejected": [*CHAT[:4], {"role": "assistant", "content": "b"}]},
        LONG,
    ),
    "gsm8k": ({"question": "q", "answer": "a"}, ASKED),
    "orca": ({"system_prompt": "s", "question": "q", "response": "a"}, [("system", "s"), *ASKED]),
    "flan": ({"inputs": "q", "targets": "a"}, ASKED),
}


@pytest.mark.parametrize(("row", "expected"), ROWS.values(), ids=ROWS)
def test_a_row_of_a_format_is_read_as_such(row, expected):
    assert said(row) == expected


def test_an_input_is_context_wherever_it_is_called_so():
    rows = ({"instruction": "q", "input": "c", "output": "a"}, {"instruction": "q", "context": "c", "response": "a"})
    for row in rows:
        assert to_record(row, "row 1").messages[0] == Message("user", "q", "c")


def test_a_row_says_its_id_source_and_tags():
    row = {"dataset": "cot", "id": 7, "messages": CHAT, "tags": ["a", "b"]}
    record = to_record(row, "row 1", "file", 3)
    assert (record.id, record.source, record.tags) == ("7", "cot", ("a", "b"))
    assert to_record({"instruction": "q", "response": "a", "category": "orca"}, "row 1").tags == ("orca",)
    plain = to_record({"instruction": "q", "output": "a", "id": None, "source": None, "tags": None}, "r", "file", 3)
    assert (plain.id, plain.source, plain.tags) == ("3", "file", ())


DIALOGUE = "Human:Hi\nAssistant:Hello!\nHuman:How are you?\nAssistant:"
TURNS = [Message("user", "Hi"), Message("assistant", "Hello!"), Message("user", "How are you?")]


@pytest.mark.parametrize(
    "instruction",
    [
        DIALOGUE,
        DIALOGUE.removesuffix("\nAssistant:"),
        DIALOGUE.replace(":", ": ").replace("\n", "\n\n"),
        DIALOGUE.replace("\n", " "),
        DIALOGUE.replace(":", "："),
    ],
)
def test_a_dialogue_in_an_instruction_becomes_its_turns(instruction):
    assert dialogue(instruction) == TURNS
    record = to_record({"instruction": instruction, "input": "c", "output": "Fine."}, "row 1")
    if "：" not in instruction:
        assert record.messages == (*TURNS[:2], Message("user", "How are you?", "c"), Message("assistant", "Fine."))


@pytest.mark.parametrize(
    "instruction",
    [
        "Write a dialogue with Human: and Assistant: in it.",
        "Human: only",
        "Human: a\nHuman: b\nAssistant:",
        "Human: a\nAssistant: b",
        "Human:\nAssistant:",
        "Superhuman: a\nAssistant:",
    ],
)
def test_what_only_speaks_of_a_dialogue_stays_one_turn(tmp_path, instruction):
    assert dialogue(instruction) == []
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"instruction": instruction, "output": "a"}))
    faults = Faults()
    (record,) = read(path, faults=faults)
    assert [m.content for m in record.messages] == [instruction, "a"]
    assert faults.notes.total() == ("Human:" in instruction and "Assistant:" in instruction)


def test_what_is_said_before_a_person_speaks_is_left_out_and_counted(tmp_path):
    path = tmp_path / "x.jsonl"
    row = {"conversations": [SHARED[0], SHARED[4], *SHARED[1:]]}
    path.write_text(json.dumps(row) + "\n" + json.dumps({"conversations": SHARED}))
    faults = Faults()
    assert [[(m.role, m.content) for m in record.messages] for record in read(path, faults=faults)] == [LONG, LONG]
    assert faults.sentences() == ["1 conversation began with an answer, which was left out"]


FAULTS = {
    "tool role": ({"messages": [{"role": "tool", "content": "x"}]}, "message 1: a tool is called or answers here"),
    "tool call": ({"messages": [{"role": "assistant", "content": None, "tool_calls": [{}]}]}, "message 1: a tool is"),
    "observation": ({"conversations": [{"from": "observation", "value": "x"}]}, "message 1: a tool is"),
    "image": ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "only parts of type 'text'"),
    "unknown role": ({"conversations": [{"from": "robot", "value": "x"}]}, "'from' one of system, developer, user"),
    "no person": ({"conversations": [{"from": "gpt", "value": "x"}]}, "'conversations' holds no turn of a person"),
    "context of false": ({"messages": [{"role": "user", "content": "x", "context": False}]}, "expected text, not 'Fa"),
    "history": ({"instruction": "q", "output": "a", "history": [["x"]]}, "'history': expected a question and its an"),
    "history of numbers": ({"instruction": "q", "output": "a", "history": [["x", 1]]}, "'history 1': expected text"),
    "broken list in a cell": ({"messages": "[{"}, "'messages' begins like a JSON list and is none"),
    "tags of lists": ({"instruction": "q", "output": "a", "tags": [[1]]}, "a tag is a text or a number, not '[1]'"),
    "tags as an object": (
        {"instruction": "q", "output": "a", "tags": {"a": 1}},
        "'tags': a tag is a text or a number, not",
    ),
    "number": ({"question": "q", "answer": 72}, "'answer': expected text, not '72'"),
}


@pytest.mark.parametrize(("row", "sentence"), FAULTS.values(), ids=FAULTS)
def test_a_row_that_does_not_fit_says_why(row, sentence):
    with pytest.raises(DataError, match=r"^the place") as caught:
        to_record(row, "the place")
    assert sentence in str(caught.value)
    assert caught.value.kind != "data"


def test_any_columns_can_be_named(tmp_path):
    path = tmp_path / "x.jsonl"
    row = {"Frage, lang": "q", "Antwort": "a", "Text": "c", "rolle": "s", "nr": 5, "art": "kurz"}
    path.write_text(json.dumps(row))
    columns = Columns.parse("instruction=Frage, lang,output=Antwort,input=Text,system=rolle,id=nr,tags=art")
    assert str(columns) == "instruction=Frage, lang,input=Text,output=Antwort,system=rolle,id=nr,tags=art"
    turns = (Message("system", "s"), Message("user", "q", "c"), Message("assistant", "a"))
    assert list(read(path, columns=columns)) == [Record(turns, "5", "x", ("kurz",))]
    with pytest.raises(DataError, match=r"x\.jsonl, line 1: there is no column 'antwort'; the columns are 'Frage, la"):
        list(read(path, columns=Columns("Frage, lang", output="antwort")))


def test_turns_under_any_name_can_be_named(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"talk": SHARED}) + "\n" + json.dumps({"talk": CHAT}))
    assert [[(m.role, m.content) for m in r.messages] for r in read(path, columns=Columns(messages="talk"))] == [
        LONG,
        LONG,
    ]


@pytest.mark.parametrize(
    ("mapping", "sentence"),
    [
        ("", "'' does not fit"),
        ("instruction", "'instruction' does not fit"),
        ("instructon=q,output=a", "Did you mean 'instruction'?"),
        ("instruction=q", "must name 'instruction' and 'output', or 'messages'"),
        ("instruction=q,instruction=p,output=a", "'instruction' is given twice"),
        ("instruction=,output=a", "'instruction=' does not fit"),
    ],
)
def test_a_mapping_that_does_not_fit_is_a_sentence(mapping, sentence):
    with pytest.raises(UsageError) as caught:
        Columns.parse(mapping)
    assert sentence in str(caught.value)


def test_a_reader_can_be_named(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"instruction": "q", "output": "a", "messages": CHAT}))
    (record,) = read(path, "alpaca")
    assert [(m.role, m.content) for m in record.messages] == ASKED
    for name in set(READERS) - {"mapped", "flan-tsv"}:
        assert READERS[name].help
    with pytest.raises(UnknownName, match=r"reader 'alpacca' is not known\. Did you mean 'alpaca'\?"):
        list(read(path, "alpacca"))
    with pytest.raises(UsageError, match="reader 'mapped' needs a mapping"):
        list(read(path, "mapped"))
    with pytest.raises(UsageError, match="reader 'alpaca' knows its columns"):
        list(read(path, "alpaca", Columns("q", output="a")))


@pytest.mark.parametrize("reader", ["messages", "sharegpt", "prompt-completion", "alpaca", "tulu"])
def test_a_named_reader_that_does_not_fit_says_so(tmp_path, reader):
    path = tmp_path / "x.jsonl"
    path.write_text('{"x": "y"}')
    with pytest.raises(DataError, match=rf"x\.jsonl, line 1: .*{reader!r}.*'x'"):
        list(read(path, reader))
