"""What a file is taken for, why, and which mapping is proposed."""

from __future__ import annotations

import csv
import json

import pytest
from camelid_core.errors import DataError
from camelid_core.readers import Columns, Faults, detect, read
from camelid_core.readers.column_proposal import propose
from camelid_core.readers.flan import FlanRows
from camelid_core.readers.selection import choose_reader, looks_like_header

CHAT = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


@pytest.fixture
def jsonl(tmp_path):
    def write(*rows, name="x.jsonl"):
        path = tmp_path / name
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        return path

    return write


@pytest.mark.parametrize(
    ("row", "reader", "why"),
    [
        ({"instruction": "q", "output": "a"}, "alpaca", "have 'instruction' and 'output'"),
        ({"instruction": "q", "response": "a"}, "alpaca", "have 'instruction' and 'response'"),
        ({"messages": CHAT}, "messages", "have 'messages'"),
        ({"dataset": "d", "id": "1", "messages": CHAT}, "tulu", "have 'dataset' and 'messages'"),
        ({"conversations": [{"from": "human", "value": "q"}]}, "sharegpt", "have 'conversations'"),
        ({"prompt": "q", "completion": "a"}, "prompt-completion", "have 'prompt' and 'completion'"),
        ({"question": "q", "answer": "a"}, "prompt-completion", "have 'question' and 'answer'"),
    ],
)
def test_a_format_is_known_by_its_columns_and_says_so(jsonl, row, reader, why):
    found = detect(jsonl(*[row] * 30))
    assert (found.reader, found.fits, found.proposed) == (reader, True, None)
    assert found.columns == tuple(row)
    assert found.sample == (row,) * 20
    assert found.reason == f"JSON Lines; all of the first 20 rows {why}, as {reader} has."


def test_rows_of_several_formats_are_each_read_as_their_own(jsonl):
    path = jsonl({"instruction": "q", "output": "a"}, {"messages": CHAT}, {"messages": CHAT})
    found = detect(path)
    assert (found.reader, found.fits) == ("", True)
    assert "of the first 3, 2 are messages, 1 are alpaca" in found.reason
    assert len(list(read(path))) == 3


def test_a_fault_in_the_first_rows_is_part_of_the_reason(jsonl):
    found = detect(jsonl({"instruction": "q", "output": "a"}, {"instruction": "q", "output": 1}))
    assert (found.reader, found.fits) == ("alpaca", False)
    assert "But row 2 of those, 'output': expected text, not '1'" in found.reason


@pytest.mark.parametrize(
    ("row", "mapping"),
    [
        ({"Frage": "q", "Antwort": "a"}, "instruction=Frage,output=Antwort"),
        (
            {"nr": 1, "Task": "q", "Best Answer": "a", "Passage": "c"},
            "instruction=Task,input=Passage,output=Best Answer",
        ),
        ({"text": "q", "summary": "a", "id": "7"}, "instruction=text,output=summary,id=id"),
        ({"idx": "1", "answer": "a", "body": "q"}, "instruction=body,output=answer,id=idx"),
        ({"dialog": [{"from": "human", "value": "q"}]}, "messages=dialog"),
        ({"x": [{"role": "user", "content": "q"}]}, "messages=x"),
        ({"Question": "q", "Label": "a", "topic": "t"}, "instruction=Question,output=Label,tags=topic"),
    ],
)
def test_unknown_columns_get_a_proposal_to_confirm(jsonl, row, mapping):
    path = jsonl(row, row)
    found = detect(path)
    assert (found.reader, found.fits, str(found.proposed)) == ("mapped", False, mapping)
    assert "no reader knows the columns" in found.reason
    assert mapping in found.reason
    with pytest.raises(DataError, match=f"no known format.*other names need a mapping: {mapping}"):
        list(read(path))
    assert len(list(read(path, columns=found.proposed))) == 2


@pytest.mark.parametrize("row", [{"a": "x"}, {"a": "x", "n": 3}, {"id": "1", "topic": "x", "body": "y"}, {}])
def test_nothing_is_proposed_from_one_text(jsonl, row):
    assert propose(list(row), [row]) is None
    assert detect(jsonl(row)).reader == ""


@pytest.mark.parametrize("content", ["", "[]", "\n", "{\n{\n"])
def test_a_file_without_rows_is_nothing(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"x\.json holds no rows") as caught:
        detect(path)
    assert caught.value.kind == "dataset_empty"


FLAN = [
    ("What is 2 + 3?\\nOptions:\\n(A) 5", "(A)", "2 + 3 = 5"),
    ('"Quoted" says who?', "yes", "a\\nb"),
    ("Is it?", "no", "c"),
]


@pytest.fixture
def flan(tmp_path):
    path = tmp_path / "some_train.tsv"
    with path.open("w", newline="") as out:
        csv.writer(out, "excel-tab").writerows(FLAN)
    return path


def test_flan_is_known_by_three_cells_and_no_header(flan):
    found = detect(flan)
    assert (found.reader, found.fits, found.columns) == ("flan-tsv", True, ("question", "answer", "rationale"))
    assert found.reason.startswith("TSV; three cells a line and a first line that is no header")
    assert len(found.sample) == 3


def test_flan_is_asked_answered_and_unescaped(flan):
    for reader in ("", "flan-tsv"):
        faults = Faults()
        first, second, third = read(flan, reader, faults=faults)
        assert [m.content for m in first.messages] == [
            "What is 2 + 3?\nOptions:\n(A) 5",
            "2 + 3 = 5\nThe answer is (A).",
        ]
        assert second.messages[1].content == "a\nb\nThe answer is yes."
        assert (third.id, third.source) == ("3", "some_train")
        assert faults.sentences() == ["2 rows had literal \\n un-escaped"]


def test_flan_can_keep_what_is_escaped(flan):
    faults = Faults()
    kept = list(read(flan, faults=faults, keep_escapes=True))
    assert kept[0].messages[0].content == "What is 2 + 3?\\nOptions:\\n(A) 5"
    assert not faults.notes
    found = [(n, *row.values()) for n, row in FlanRows(flan, Faults(), keep_escapes=True)]
    assert found == [(n, *row) for n, row in enumerate(FLAN, 1)]


def test_a_tsv_with_a_header_is_a_table(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("instruction\tinput\toutput\nq\tc\ta\n")
    assert detect(path).reader == "alpaca"
    assert not looks_like_header(["What is it?", "yes", "so"])
    assert looks_like_header(["Frage", "Antwort 1", "source_id"])


def test_a_flan_file_of_other_width_names_the_line(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("What is 1 + 1?\t2\tIt is.\nWhat?\t2\n")
    with pytest.raises(DataError, match=r"x\.tsv, row 2 \(line 2\): 2 cells where the header has 3"):
        list(read(path, "flan-tsv"))


def test_a_reader_that_refines_another_is_taken_for_the_files_it_accepts(flan, monkeypatch):
    import dataclasses

    from camelid_core.readers import READERS, selection

    finer = dataclasses.replace(
        READERS["flan-tsv"], name="finer", refines="flan-tsv", accepts=lambda path: path.stem == "other_train"
    )
    monkeypatch.setattr(selection, "all_readers", lambda: dict(READERS) | {"finer": finer})
    assert choose_reader(flan, "flan-tsv").name == "flan-tsv"
    other = flan.rename(flan.with_name("other_train.tsv"))
    assert choose_reader(other, "flan-tsv").name == choose_reader(other).name == "finer"


def test_columns_say_what_they_use():
    assert Columns(instruction="a", output="b").used() == {"instruction": "a", "output": "b"}


def test_a_column_may_end_or_begin_in_a_word():
    row = {"Question Text": "What is 2 + 2?", "Notes": "x", "Model Answer": "Four.", "Topic": "maths"}
    assert str(propose(list(row), [row])) == "instruction=Question Text,output=Model Answer,tags=Topic"


def test_a_message_names_a_few_of_many_columns(jsonl, tmp_path):
    wide = {f"column {number:05}": number for number in range(30_000)} | {"x" * 5000: 1}
    lines, table = jsonl(wide), tmp_path / "wide.csv"
    table.write_text("instruction,output," + ",".join(f"c{number}" for number in range(30_000)) + "\na,b\n")
    for path, sentence in ((lines, r"\['column 00000', .*'column 00019' and 29,981 more\]"), (table, "29,982 more")):
        with pytest.raises(DataError, match=sentence) as caught:
            list(read(path))
        assert len(str(caught.value)) < 1500
    with pytest.raises(DataError, match="there is no column 'a'; the columns are") as caught:
        list(read(lines, columns=Columns.parse("instruction=a,output=b")))
    assert len(str(caught.value)) < 1500
    assert len(detect(lines).reason) < 1500
