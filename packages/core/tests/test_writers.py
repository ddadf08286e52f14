"""Data files out: nothing is lost without a word, and a file is whole or not there."""

from __future__ import annotations

import json

import pytest
from camelid_core.errors import DataError, UnknownName, UsageError
from camelid_core.readers import Faults, detect, read
from camelid_core.readers.dialogue import dialogue
from camelid_core.records import Message, Record, alpaca
from camelid_core.writers import WRITERS, to_alpaca, write, write_alpaca
from hypothesis import given, settings
from hypothesis import strategies as st

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20) | st.sampled_from(
    ["\u2028\u2029\x85", "\r\n", "\r", '"\\', "答案", "🦙", "[]", '[["a"]]', "},{", "", "\ufeff", "a,b;c\td", "Human:"]
)
some_text = text.filter(bool)
labels = st.tuples(some_text, some_text, st.lists(some_text, max_size=2).map(tuple))
conversation = st.tuples(
    st.lists(st.builds(Message, st.just("system"), some_text), max_size=1),
    st.lists(
        st.tuples(st.builds(Message, st.just("user"), text), st.builds(Message, st.just("assistant"), text)),
        min_size=1,
        max_size=3,
    ),
).map(lambda parts: (*parts[0], *(turn for pair in parts[1] for turn in pair)))
anything = st.lists(
    st.builds(Message, st.sampled_from(["system", "user", "assistant"]), text, text), min_size=1, max_size=5
).map(tuple)
single = st.builds(lambda a, b, c: alpaca(a, b, c).messages, text, text, text).filter(
    lambda turns: not dialogue(turns[0].content)
)
HOLDS = {
    ("messages", ".json"): anything,
    ("messages", ".jsonl"): anything,
    ("messages", ".csv"): anything,
    ("parquet", ".parquet"): anything,
    ("alpaca", ".json"): single | conversation.filter(lambda turns: not dialogue(turns[-2].content)),
    ("alpaca", ".parquet"): single,
    ("csv", ".csv"): single,
    ("tsv", ".tsv"): single,
    ("sharegpt", ".jsonl"): conversation,
    ("sharegpt", ".parquet"): conversation,
    ("tulu", ".jsonl"): conversation,
    ("tulu", ".tsv"): conversation,
    ("prompt-completion", ".jsonl"): conversation,
}


@pytest.mark.parametrize(("writer", "suffix"), HOLDS)
@settings(max_examples=30)
@given(data=st.data())
def test_what_a_format_holds_comes_back(tmp_path_factory, writer, suffix, data):
    turns = data.draw(st.lists(HOLDS[writer, suffix], min_size=1, max_size=4))
    path = tmp_path_factory.mktemp("w") / f"x{suffix}"
    faults = Faults()
    assert write(map(Record, turns), path, writer, faults) == len(turns)
    assert [record.messages for record in read(path)] == turns
    assert not faults.notes


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv"])
@settings(max_examples=30)
@given(records=st.lists(st.builds(lambda turns, rest: Record(turns, *rest), anything, labels), min_size=1, max_size=4))
def test_messages_hold_all_that_a_record_has(tmp_path_factory, suffix, records):
    path = tmp_path_factory.mktemp("w") / f"x{suffix}"
    write(records, path, "messages")
    assert list(read(path)) == records


@pytest.mark.parametrize(("writer", "suffix"), HOLDS)
def test_a_written_file_is_known_for_what_it_is(tmp_path, writer, suffix):
    path = tmp_path / f"x{suffix}"
    write([Record(alpaca("q", "a").messages, "1", "s")] * 3, path, writer)
    found = detect(path)
    assert found.fits
    assert found.reader == WRITERS[writer].row_format.name


def test_a_single_turn_is_alpacas_three_columns():
    assert to_alpaca(alpaca("Add.", "5", "2 and 3")) == {"instruction": "Add.", "input": "2 and 3", "output": "5"}


def test_more_turns_are_system_and_history():
    roles = ["system", "user", "assistant", "user", "assistant"]
    record = Record(tuple(Message(role, f"{role} {index}") for index, role in enumerate(roles)))
    assert to_alpaca(record) == {
        "instruction": "user 3",
        "input": "",
        "output": "assistant 4",
        "system": "system 0",
        "history": [["user 1", "assistant 2"]],
    }


USER, ANSWER = Message("user", "q"), Message("assistant", "a")
CANNOT = {
    "no answer": ([USER], ("alpaca", "prompt-completion", "csv")),
    "two questions": ([USER, USER, ANSWER], ("alpaca",)),
    "answer first": ([ANSWER, USER, ANSWER], ("alpaca", "sharegpt")),
    "an earlier input": ([Message("user", "q", "c"), ANSWER, USER, ANSWER], ("alpaca",)),
    "an empty system": ([Message("system", ""), USER, ANSWER], ("alpaca",)),
    "a dialogue": ([Message("user", "Human: x\nAssistant:"), ANSWER], ("alpaca", "csv")),
    "a system in a table": ([Message("system", "s"), USER, ANSWER], ("csv", "tsv")),
    "nothing": ([], ("alpaca", "messages", "tulu", "sharegpt", "prompt-completion", "parquet")),
    "a surrogate": ([Message("user", "\ud800"), ANSWER], tuple(WRITERS)),
    "a nul": ([USER, Message("assistant", "\0")], tuple(WRITERS)),
    "too long": ([Message("user", "x" * 1_000_001), ANSWER], tuple(WRITERS)),
}


@pytest.mark.parametrize(("turns", "writers"), CANNOT.values(), ids=CANNOT)
def test_a_record_that_a_format_cannot_hold_is_named_by_row_and_reason(tmp_path, turns, writers):
    good = alpaca("q", "a")
    for writer in writers:
        file_format = WRITERS[writer].file_format
        path = tmp_path / f"{writer}{file_format.suffixes[0] if file_format else '.jsonl'}"
        records = [good, Record(tuple(turns)), good]
        with pytest.raises(DataError, match=r"^row 2 cannot be written as [a-z-]+(, message \d)?: \w.*\.$"):
            write(records, path, writer)
        assert not path.exists()
        faults = Faults(strict=False)
        assert write(records, path, writer, faults) == 2
        assert faults.total == 1
        assert len(list(read(path))) == 2


def test_what_is_joined_or_left_behind_is_said(tmp_path):
    record = Record(alpaca("q", "a", "c").messages, "1", "s", ("tag",))
    for writer in ("sharegpt", "tulu", "prompt-completion"):
        faults = Faults()
        write([record], tmp_path / "x.jsonl", writer, faults)
        assert len(faults.sentences()) == 2
        assert next(read(tmp_path / "x.jsonl")).messages[0] == Message("user", "q\nc")
    faults = Faults()
    write([record], tmp_path / "x.json", "", faults)
    assert faults.sentences() == [
        "1 row had tags, which were left behind: this format has no place for them, the writer 'messages' has"
    ]


def test_json_is_one_array_and_jsonl_one_object_a_line(tmp_path):
    records = [alpaca("a", "中"), alpaca("b", "\u2028")]
    write_alpaca(records, tmp_path / "x.json")
    write_alpaca(records, tmp_path / "x.jsonl")
    whole = json.loads((tmp_path / "x.json").read_text("utf-8"))
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text("utf-8").split("\n")[:-1]]
    assert whole == lines == [to_alpaca(record) for record in records]
    assert "中" in (tmp_path / "x.json").read_text("utf-8")


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".parquet"])
def test_no_rows_are_a_valid_file(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    assert write_alpaca([], path) == 0
    with pytest.raises(DataError, match="holds no rows"):
        list(read(path))


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".parquet"])
def test_a_source_that_breaks_off_leaves_the_old_file_alone(tmp_path, suffix):
    def broken():
        yield alpaca("a", "b")
        raise OSError

    path = tmp_path / f"x{suffix}"
    path.write_text("old")
    with pytest.raises(OSError):
        write_alpaca(broken(), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_suffix_chooses_and_others_are_refused(tmp_path):
    write([alpaca("a", "b")], tmp_path / "x.PARQUET")
    assert detect(tmp_path / "x.PARQUET").reader == "messages"
    write([alpaca("a", "b")], tmp_path / "plain", "csv")
    assert (tmp_path / "plain").read_text() == "instruction,input,output\na,,b\n"
    with pytest.raises(UsageError, match=r"must end in \.json, \.jsonl, .*or \.parquet"):
        write([], tmp_path / "x.txt")
    with pytest.raises(UnknownName, match=r"writer 'alpacca' is not known\. Did you mean 'alpaca'\?"):
        write([], tmp_path / "x.json", "alpacca")


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path):
    with pytest.raises(DataError, match=r"gone/x\.json' cannot be written: No such file or directory\. Give another"):
        write([], tmp_path / "gone" / "x.json")
    (tmp_path / "x.json").mkdir()
    with pytest.raises(DataError, match=r"x\.json' is a directory; give the name of a file"):
        write([], tmp_path / "x.json")
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
