"""Inputs: every form of file gives the same rows, a bad one is an error of its own, nothing is held in memory."""

from __future__ import annotations

import csv
import json
import os
import tracemalloc
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from camelid_core.datasets import library
from camelid_core.errors import DataError, UnknownName, UsageError
from camelid_core.records import alpaca, text_record
from camelid_core.testing import write_jsonl
from camelid_serve.config import PredictConfig
from camelid_serve.json_lines import to_json_line
from camelid_serve.metrics import METRICS, score
from camelid_serve.predict import work_log
from camelid_serve.predict.inputs import input_of, open_input
from camelid_serve.predict.prediction_rows import write_predictions
from camelid_serve.predict.work_log import RecordedResults, WorkLog
from camelid_serve.presets import SUFFIXES, with_suffix
from hypothesis import given
from hypothesis import strategies as st

ROWS = [{"question": f"What is {n} + {n}?", "answer": str(2 * n), "topic": "加法"} for n in range(5)]


def written(path: Path) -> Path:
    match path.suffix:
        case ".parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.Table.from_pylist(ROWS), path)
        case ".csv" | ".tsv":
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, ROWS[0], delimiter="," if path.suffix == ".csv" else "\t")
                writer.writeheader()
                writer.writerows(ROWS)
        case ".json":
            path.write_text(json.dumps(ROWS), encoding="utf-8")
        case _:
            write_jsonl(path, ROWS)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".json", ".jsonl"])
def test_every_form_of_file_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    found = list(open_input(str(written(tmp_path / f"rows{suffix}"))).rows())
    assert [dict(row.fields) for row in found] == ROWS
    assert [row.number for row in found] == [1, 2, 3, 4, 5]
    assert [row.messages[-1].content for row in found] == [row["question"] for row in ROWS]
    assert [row.gold for row in found] == [row["answer"] for row in ROWS]


@pytest.mark.parametrize(
    ("name", "text", "bad"),
    [
        ("rows.csv", "instruction,n\nfine,1\nragged\n,3\nfine too,4\n", [2, 3]),
        ("rows.json", '[{"instruction": "fine"}, 7, {"instruction": "a", "instruction": "b"}]', [2, 3]),
        ("rows.jsonl", '{no\n{"instruction": "fine"}\n\n[1]\n{"instruction": NaN}\n', [1, 3, 4]),
        ("rows.jsonl", '{"instruction": " "}\n{"instruction": null}\n{"instruction": "", "input": "fine"}\n', [1, 2]),
        ("rows.jsonl", '{"instruction": "fine"}\n' + '{"a":' * 9000 + "1" + "}" * 9000, [2]),
        ("rows.json", '[{"instruction": "fine"}, {"instruction": "fine too"}]\r\n', []),
        ("rows.csv", '\ufeffinstruction,id\r\nfine,1\r\nfine too,1\r\n"never closed\r\nlast,2\r\n', [3]),
        ("rows.csv", "instruction\nfine\nno\0text\n" + "x" * 1_500_000 + "\nfine too\n", [2, 3]),
    ],
)
def test_a_bad_row_stands_where_it_was(tmp_path: Path, name: str, text: str, bad: list[int]) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    source = open_input(str(tmp_path / name))
    rows = list(source.rows())
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    assert [row.number for row in rows if row.error] == bad
    summary = source.summary()
    assert (summary.rows, summary.invalid) == (len(rows), len(bad))


@pytest.mark.parametrize("asks", ["instruction", "prompt", "question", "query", "problem", "inputs"])
def test_rows_need_no_answer(tmp_path: Path, asks: str) -> None:
    row = next(open_input(str(write_jsonl(tmp_path / "q.jsonl", [{asks: "Why?"}]))).rows())
    assert (row.error, row.messages[-1].content, row.gold) == ("", "Why?", "")


def test_a_mapping_names_the_columns(tmp_path: Path) -> None:
    path = str(write_jsonl(tmp_path / "odd.jsonl", [{"Frage": "Why?", "text": "Because.", "n": 4}]))
    with pytest.raises(DataError, match="no row can be answered"):
        open_input(path).summary()
    row = next(open_input(path, "instruction=Frage,input=text", "n").rows())
    assert (row.messages[0].content, row.messages[0].context, row.gold) == ("Why?", "Because.", "4")
    missing = next(open_input(path, "instruction=Fragen").rows())
    assert "'Fragen'" in missing.error
    with pytest.raises(UsageError, match="mapping"):
        open_input(path, "instructions=Frage")


def test_a_dataset_is_an_input_too() -> None:
    library.add([alpaca(f"Say {n}.", str(n), id=f"r{n}") for n in range(3)], "mine", licence="mit")
    source = open_input("mine")
    rows = list(source.rows(2))
    assert [(row.fields["id"], row.fields["instruction"], row.gold) for row in rows] == [
        ("r0", "Say 0.", "0"),
        ("r1", "Say 1.", "1"),
    ]
    assert source.summary().use.licence == "mit"
    with pytest.raises(UsageError, match="dataset"):
        open_input("mine", "instruction=x")
    with pytest.raises(UnknownName, match="mine"):
        open_input("mien")


def test_a_name_of_the_hub_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("hf:org/name", "hf:org/rows.jsonl"):
        found = open_input(name)
        Path("hf:org").mkdir(exist_ok=True)
        write_jsonl(Path(name), [{"instruction": "of here"}])
        assert (found.path, found.name) == (open_input(name).path, open_input(name).name) == (None, name)


def test_the_digest_is_that_of_what_is_read(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "q.jsonl", ROWS)
    first = open_input(str(path)).summary().use.sha256
    write_jsonl(path, ROWS[::-1])
    assert open_input(str(path)).summary().use.sha256 != first


TEXT = st.text(st.sampled_from('a"\n\r\0\u2028é你\ud800'), max_size=5)
JSON = st.none() | st.booleans() | st.floats() | TEXT


@given(st.dictionaries(TEXT, JSON | st.lists(JSON, max_size=3), max_size=4))
def test_every_row_is_one_line_of_json(row: dict[str, Any]) -> None:
    line = to_json_line(row)
    assert line.count(b"\n") == 1
    assert len(json.loads(line)) == len(row)


def test_what_json_has_no_word_for_becomes_text_or_null() -> None:
    line = to_json_line({"when": date(2026, 1, 2), "what": float("nan"), "half": "\ud800", "raw": b"x"})
    assert json.loads(line) == {"when": "2026-01-02", "what": None, "half": "\ud800", "raw": "x"}


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 2)), max_size=40))
def test_a_work_log_knows_what_was_added_to_any_attempt(tmp_path_factory: Any, added: list[tuple[int, int]]) -> None:
    root = tmp_path_factory.mktemp("work")
    places = [root / str(number) for number in range(3)]
    expected: dict[int, dict[str, Any]] = {}
    for attempt, place in enumerate(places):
        place.mkdir()
        with WorkLog("w", "same", place, places[:attempt][::-1]) as work:
            for row, which in added:
                if which == attempt and row not in work.done:
                    work.add(row, {"generate": f"{row} in {attempt}"})
                    expected[row] = {"generate": f"{row} in {attempt}"}
            with (place / "w").open("ab") as torn:
                torn.write(b'{"row": 7, "resu')
        assert dict(work.done) == expected
    assert dict(RecordedResults([place / "w" for place in places[::-1]], "same")) == expected
    assert not RecordedResults([places[0] / "w"], "another")


def test_rows_reach_the_disk_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a power cut leaves of what was not synced, what was synced is taken up."""
    synced: list[int] = []
    clock = 0.0
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", noting)
    monkeypatch.setattr(work_log.time, "monotonic", lambda: clock)
    with WorkLog("w", "same", tmp_path) as work:
        synced.clear()
        for row in range(40):
            clock += work_log.SYNC_SECONDS / 8
            work.add(row, {"generate": "x" * row})
        assert 5 <= len(synced) <= 6
        on_disk = synced[-1]
    whole = (tmp_path / "w").read_bytes()
    assert synced[-1] == len(whole)
    for left in (whole[:on_disk], whole[:on_disk] + bytes(len(whole) - on_disk), whole[: on_disk + 9]):
        (tmp_path / "w").write_bytes(left)
        assert len(RecordedResults([tmp_path / "w"], "same")) == 8 * len(synced[:-1])


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        rows = [{"instruction": f"Say {n}." * 8} for n in range(count)]
        path = write_jsonl(tmp_path / f"{count}.jsonl", rows)
        directory = tmp_path / f"of-{count}"
        directory.mkdir()
        tracemalloc.start()
        source = open_input(str(path))
        source.summary()
        with WorkLog("w", "same", directory) as work:
            for row in source.rows():
                answer = row.messages[0].content
                work.add(row.number, {"generate": answer, "scores": score(answer, f"{answer} {row.number}", METRICS)})
        write_predictions(directory, source.rows(), {"one": work.done})
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(10)  # what is imported on the way
    few, many = peak(200), peak(1200)
    assert many - few < 1000 * 40, (few, many)  # a row in memory would take hundreds of bytes


def test_suffixes_end_each_question_and_leave_the_rows_as_they_are(tmp_path):
    rows = [{"instruction": "Add.", "input": "1 and 2"}, {"instruction": ""}]
    source = open_input(str(write_jsonl(tmp_path / "in.jsonl", rows)))
    asked = list(source.with_suffixes(["explain", "decide"]).rows())
    assert asked[0].messages[-1].content == "Add.\nExplain your reasoning\n先思考，再决定"
    assert asked[0].messages[-1].context == "1 and 2"
    assert [row.fields for row in asked] == [row.fields for row in source.rows()]
    assert asked[1].error
    with pytest.raises(UnknownName, match="suffix 'explane'"):
        source.with_suffixes(["explane"])


def test_a_text_without_turns_has_no_question(tmp_path, home):
    path = write_jsonl(tmp_path / "x.jsonl", [{"text": "Llamas."}, {"instruction": "q", "output": "a"}])
    first, second = open_input(str(path)).rows()
    assert "line 1: it is a text without turns: there is no question to answer" in first.error
    assert first.error.endswith("map it: instruction=text.")
    assert second.messages
    (mapped,) = list(open_input(str(path), "instruction=text").rows(1))
    assert mapped.messages[0].content == "Llamas."
    library.add([text_record("Llamas.")], "llamas")
    (row,) = open_input("llamas").rows()
    assert row.fields["text"] == "Llamas."
    assert row.error.startswith("llamas, row 1: it is a text without turns")


BEGUN = [
    {
        "messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because "}],
        "gold": "Because!",
    },
    {"messages": [{"role": "user", "content": "How?"}]},
]


def test_an_answer_at_the_end_is_the_gold_answer_or_is_continued(tmp_path: Path) -> None:
    path = str(write_jsonl(tmp_path / "begun.jsonl", BEGUN))
    first, second = open_input(path).rows()
    assert ([each.role for each in first.messages], first.gold) == (["user"], "Because ")
    first, second = open_input(path, continue_answers=True).rows()
    assert ([each.content for each in first.messages], first.gold) == (["Why?", "Because"], "")
    assert [each.content for each in second.messages] == ["How?"]
    assert next(open_input(path, gold_column="gold", continue_answers=True).rows()).gold == "Because!"


def test_every_answer_can_begin_with_one_text_and_suffixes_go_to_the_question(tmp_path: Path) -> None:
    path = str(write_jsonl(tmp_path / "begun.jsonl", BEGUN))
    config = PredictConfig(input=path, prefill="Sure, ", suffixes=["step-by-step"])
    suffix = SUFFIXES["step-by-step"].text
    for row, asked in zip(input_of(config).rows(), ("Why?", "How?"), strict=True):
        question, answer = row.messages
        assert question.content == with_suffix(asked, suffix)
        assert (answer.role, answer.content) == ("assistant", "Sure,")
    continued = input_of(config.model_copy(update={"prefill": "", "continue_answers": True}))
    assert next(continued.rows()).messages[0].content == with_suffix("Why?", suffix)
    with pytest.raises(UsageError, match=r"--prefill .* --continue .* give one of them"):
        input_of(config.model_copy(update={"continue_answers": True}))
