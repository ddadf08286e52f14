"""Adding files: detected formats, column mapping, rows left out, names refused."""

from __future__ import annotations

import pytest
from camelid_core.errors import CamelidError, DataError, UsageError
from camelid_ui.services.data.add import MAPPED, ImportPlan

ODD = 'Frage,Notiz,Loesung\n"Was ist 2 + 2?",x,4\n"Und 3 + 3?",,6\n'


@pytest.fixture
def adding(services):
    return services.data.add


@pytest.fixture
def odd(tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text(ODD, "utf-8")
    return path


def test_a_file_is_detected_previewed_added_and_its_rows_kept(adding, services, questions):
    assert adding.detect(questions).fits
    assert [record.answer for record in adding.preview(ImportPlan(questions)).records] == ["2", "4", "6"]
    done = adding.start(ImportPlan(questions), "sums", "mit").wait(240).result
    assert (done.entry.rows, done.entry.licence, done.faults.total) == (5, "mit", 0)
    questions.unlink()
    assert services.data.collection.record("sums", 0).answer == "2"


def test_columns_of_any_name_become_records(adding, services, odd):
    found = adding.detect(odd)
    assert not found.fits
    assert found.columns == ("Frage", "Notiz", "Loesung")
    plan = ImportPlan(odd, MAPPED, {"instruction": "Frage", "output": "Loesung", "input": ""})
    assert adding.preview(plan).error == ""
    adding.start(plan, "odd").wait(240)
    record = services.data.collection.record("odd", 1)
    assert (record.messages[0].content, record.answer) == ("Und 3 + 3?", "6")


def test_a_mapping_without_an_answer_says_so_in_the_preview_and_when_adding(adding, odd):
    plan = ImportPlan(odd, MAPPED, {"instruction": "Frage"})
    assert "output" in adding.preview(plan).error
    with pytest.raises(UsageError, match="instruction and output"):
        adding.start(plan, "odd")


def test_faulty_rows_stop_or_are_left_out_and_counted(adding, services, tmp_path):
    path = tmp_path / "mixed.jsonl"
    path.write_text('{"instruction": "a", "output": "b"}\n{"nope": 1}\n{"instruction": "c", "output": "d"}\n')
    strict = adding.start(ImportPlan(path), "strict").wait(240)
    assert strict.state == "failed"
    assert "mixed.jsonl" in strict.error
    assert "strict" not in services.data.collection.names()
    lenient = adding.start(ImportPlan(path, strict=False), "lenient").wait(240).result
    assert (lenient.entry.rows, lenient.faults.total) == (2, 1)
    assert "mixed.jsonl" in lenient.faults.examples[0]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl", '{"instruction": "x", "output": "y"}\n{"nope": 1}\n'), ("a.jsonl", "{broken\n"), ("a.jsonl", "")],
)
def test_a_bad_file_is_refused_and_leaves_nothing(adding, services, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError):
        adding.add(tmp_path / name)
    assert [entry for entry in services.data.collection.all() if entry.added] == []


@pytest.mark.parametrize("name", ["../x", "a/b", "-rf", "CON", "cot-arithmetic", "é", "x" * 80])
def test_names_that_cannot_be_are_refused(adding, questions, name):
    with pytest.raises(UsageError):
        adding.add(questions, name)


@pytest.mark.parametrize(
    ("path", "words"),
    [("rows.jsonl", "whole path"), ("/nowhere/rows.jsonl", "no file"), ("/tmp", "directory"), (__file__, "none of")],
)
def test_only_files_of_known_kinds_by_their_whole_path(adding, path, words):
    with pytest.raises(CamelidError, match=words):
        adding.find(path)


def test_a_name_is_proposed_that_can_be_used(adding, services, questions, tmp_path):
    assert adding.name_for(tmp_path / "Ümlaut & co.csv") == "mlaut---co"
    adding.add(questions, "questions")
    proposed = adding.name_for(questions)
    assert proposed not in services.data.collection.names()
    adding.add(questions, proposed)
