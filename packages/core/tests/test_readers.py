"""Data files in: every good row comes out, and every fault is named by file and row."""

from __future__ import annotations

import json
import resource

import pytest
from camelid_core.errors import DataError
from camelid_core.readers import MAX_FIELD, json_array, read, rows, to_record
from camelid_core.records import Message, Record, alpaca
from camelid_core.writers import write
from hypothesis import given
from hypothesis import strategies as st

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30) | st.sampled_from(
    ["\u2028\u2029\x85", "\r\n", "\r", '"\\', "答案", "🦙", "[]", "},{", ""]
)
single = st.builds(alpaca, text, text, text)
turns = st.lists(
    st.builds(Message, st.sampled_from(["system", "user", "assistant"]), text, text), min_size=1, max_size=5
)
chat = turns.map(lambda messages: Record(tuple(messages)))
ROW = {"instruction": "a", "output": "b"}


@pytest.fixture
def file(tmp_path):
    def write(content: bytes | str, name: str = "data.json"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def messages_of(path):
    return [record.messages for record in read(path)]


@given(st.lists(single | chat, min_size=1, max_size=6), st.sampled_from([".json", ".jsonl"]), st.integers(1, 40))
def test_what_is_written_is_read_back_whatever_the_chunk_size(tmp_path_factory, records, suffix, chunk):
    path = tmp_path_factory.mktemp("data") / f"rows{suffix}"
    assert write(records, path, "messages") == len(records)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_array, "CHUNK", chunk)
        assert messages_of(path) == [record.messages for record in records]


@given(
    st.lists(st.dictionaries(text, st.none() | st.integers() | st.floats(-1, 1) | text, max_size=3), max_size=4),
    st.data(),
)
def test_an_array_is_read_the_same_however_it_is_laid_out(tmp_path_factory, values, data):
    path = tmp_path_factory.mktemp("data") / "rows.json"
    indent = data.draw(st.sampled_from([None, 0, 2, "\t"]))
    path.write_text(
        "  \n" + json.dumps(values, indent=indent, ensure_ascii=data.draw(st.booleans())) + " \r\n", "utf-8"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_array, "CHUNK", data.draw(st.integers(1, 9)))
        assert list(rows(path)) == list(enumerate(values, 1))


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.txt"])
def test_the_first_character_and_not_the_name_says_which_format(file, name):
    for content in (json.dumps([ROW, ROW]), json.dumps(ROW) + "\n\n" + json.dumps(ROW)):
        assert len(messages_of(file(content, name))) == 2


def test_records_carry_where_they_came_from(file):
    content = json.dumps([ROW, ROW | {"id": 7, "source": "sums"}])
    records = list(read(file(content, "mine.json")))
    assert [(record.id, record.source) for record in records] == [("1", "mine"), ("7", "sums")]


def test_files_joined_with_their_byte_order_marks_are_no_fault(file):
    line = b"\xef\xbb\xbf" + json.dumps(ROW).encode() + b"\n"
    assert len(messages_of(file(line + line, "x.jsonl"))) == 2


def test_a_byte_order_mark_and_windows_line_ends_are_no_fault(file):
    line = json.dumps(ROW).encode()
    for content in (
        b"\xef\xbb\xbf" + line,
        b"\xef\xbb\xbf[" + line + b"]",
        line + b"\r\n" + line + b"\r\n",
        line + b"\n",
    ):
        assert messages_of(file(content))


def test_only_a_newline_ends_a_line(file):
    odd = "a\u2028b\u2029c\x85d\x0be"
    assert messages_of(file(json.dumps(ROW | {"output": odd}, ensure_ascii=False), "x.jsonl"))[0][1].content == odd


LINE = json.dumps(ROW)
FAULTS = {
    "utf-16": (LINE.encode("utf-16"), "is UTF-16; save it as UTF-8"),
    "utf-16 big": ("\ufeff".encode("utf-16-be") + LINE.encode("utf-16-be"), "is UTF-16"),
    "truncated line": (f"{LINE}\n{LINE}\n" + '{"instruction": "a', "line 3, column 17: Unterminated string"),
    "two objects on a line": (f"{LINE}\n{LINE} {LINE}\n", "line 2, column 37: Extra data"),
    "not utf-8": (f"{LINE}\n{LINE}\n".encode() + b'{"instruction": "\xff"}', "line 3: not UTF-8 at byte 17"),
    "half a character": (LINE.encode() + b"\n" + '{"a": "é'.encode()[:-1], "line 2: not UTF-8"),
    "nul": ('{"instruction": "a\\u0000", "output": "b"}', "line 1, 'instruction': the text holds a NUL"),
    "surrogate": (f'{LINE}\n{{"instruction": "a", "output": "\\ud800"}}', "line 2, 'output': .* half a surrogate pair"),
    "key twice": ('{"instruction": "a", "output": "b", "output": "c"}', "line 1: key 'output' stands twice"),
    "nan": ('{"instruction": "a", "output": "b", "score": NaN}', "line 1: NaN is no JSON value"),
    "long number": (
        f'{{"instruction": "a", "output": "b", "n": {"1" * 5000}}}',
        "line 1: Exceeds the limit of 4,300 digits",
    ),
    "deep": ('{"a":' * 100_000, "line 1: .*nested too deeply"),
    "deep array": ("[" * 100_000, r"row 1 \(line 1, column 2\): .*nested too deeply"),
    "no object": (f"{LINE}\n7\n", "line 2: expected an object, not '7'"),
    "unknown keys": ('{"question": "a"}', r"line 1: no known format; the keys are \['question'\]"),
    "no text": ('{"instruction": 5, "output": "b"}', "line 1, 'instruction': expected text, not '5'"),
    "false is no text": ('{"instruction": "a", "output": false}', "line 1, 'output': expected text, not 'False'"),
    "zero is no text": ('{"instruction": "a", "output": 0}', "line 1, 'output': expected text, not '0'"),
    "no messages": ('{"messages": []}', "line 1: 'messages' must be a list with at least one message"),
    "unknown role": (
        '{"messages": [{"role": "robot", "content": ""}]}',
        "line 1, message 1: expected an object with 'role'",
    ),
    "no content": ('{"messages": [{"role": "user"}]}', "line 1, message 1: expected text, not 'None'"),
    "array cut": (f"[{LINE}, {LINE}", r"row 2 \(line 1, column 74\): the array is not closed"),
    "array cut in a row": (f"[{LINE}, {LINE[:-3]}", r"row 2 \(line 1, column 70\): Unterminated string"),
    "array with a hole": (f"[{LINE},\n, {LINE}]", r"row 2 \(line 2, column 1\): Expecting value"),
    "array with a last comma": (f"[{LINE}, ]", r"row 2 \(line 1, column 39\): Expecting value"),
    "array without commas": (f"[{LINE} {LINE}]", r"row 1 \(line 1, column 38\): expected ']'"),
    "array in an array": (f"[[{LINE}]]", r"row 1 \(line 1\): expected an object"),
    "two arrays": (f"[{LINE}]\n[{LINE}]", r"row 1 \(line 2, column 1\): the array has ended, but the file goes on"),
    "key twice in an array": (f'[{LINE}, {{"a": 1, "a": 2}}]', r"row 2 \(line 1\): key 'a' stands twice"),
    "nan in an array": ('[{"a": NaN}]', r"row 1 \(line 1\): NaN is no JSON value"),
    "not utf-8 in an array": (b'[{"instruction": "\xff"}]', "not UTF-8 near row 1, at byte 18 "),
}


@pytest.mark.parametrize(("content", "sentence"), FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("chunk", [7, 1 << 20])
def test_a_fault_is_named_by_file_and_row(file, monkeypatch, content, sentence, chunk):
    monkeypatch.setattr(json_array, "CHUNK", chunk)
    with pytest.raises(DataError, match=rf"^data\.json.*{sentence}"):
        list(read(file(content)))


@pytest.mark.parametrize("content", ["", " \n \n", "[]", "[ ]\n", b"\xef\xbb\xbf"])
def test_a_file_without_rows_is_a_fault(file, content):
    with pytest.raises(DataError, match=r"data\.json holds no rows"):
        list(read(file(content)))


def test_rows_before_a_fault_are_given_and_the_fault_is_not_passed_over(file):
    records = read(file(f"{LINE}\n{LINE}\n{{\n{LINE}\n"))
    assert [next(records).id, next(records).id] == ["1", "2"]
    with pytest.raises(DataError, match="line 3"):
        next(records)


def test_a_fault_early_in_a_long_array_is_found_there(file, monkeypatch):
    monkeypatch.setattr(json_array, "CHUNK", 1000)
    path = file(f"[{LINE}, {{instruction: 1}}, " + ", ".join([LINE] * 1000) + "]")
    reads = []
    original = json_array._JsonStream._read_chunk
    monkeypatch.setattr(json_array._JsonStream, "_read_chunk", lambda self: (reads.append(1), original(self)))
    with pytest.raises(DataError, match=r"row 2 \(line 1, column 40\): Expecting property name .*instruction: 1"):
        list(read(path))
    assert len(reads) == 1


@pytest.mark.parametrize("form", ["{}", "[{}]"])
def test_a_field_too_large_is_refused_without_holding_it(tmp_path, form):
    path = tmp_path / "data.json"
    opening, closing = form.split("{}")
    with path.open("wb") as out:
        out.write(f'{opening}{{"instruction": "'.encode())
        for _ in range(100):
            out.write(b"x" * 1_000_000)
        out.write(f'", "output": ""}}{closing}'.encode())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="longer than 16,000,000"):
        list(read(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


def test_a_text_over_the_limit_is_refused_by_its_length(file):
    row = {"instruction": "x" * (MAX_FIELD + 1), "output": "y"}
    with pytest.raises(DataError, match="line 1, 'instruction': 1,000,001 characters; at most 1,000,000 are taken"):
        list(read(file(json.dumps(row))))
    assert list(read(file(json.dumps(row | {"instruction": "x" * MAX_FIELD}))))


def test_a_file_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(DataError, match=r"'.*gone\.json' cannot be read: No such file"):
        list(read(tmp_path / "gone.json"))


@pytest.mark.parametrize("nothing", [{}, {"input": None}, {"input": ""}])
def test_a_missing_or_null_input_is_no_context(nothing):
    assert to_record(ROW | nothing, "row 1").messages == alpaca("a", "b").messages
