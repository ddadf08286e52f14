"""The collection: searching, paging, adding and removing."""

from __future__ import annotations

import pytest
from camelid_core.errors import DataError, UnknownName, UsageError
from camelid_core.testing import write_jsonl


def test_everything_registered_is_listed_and_found(services):
    names = services.data.names()
    assert "cot-arithmetic" in names
    assert [entry.name for entry in services.data.all(search="zh", language="zh")] == [
        "cot-arithmetic",
        "cot-arithmetic-zh",
    ]
    assert services.data.all(search="nothing like it") == []


def test_rows_come_in_pages(services):
    first, second = services.data.page("cot-arithmetic-en", 0, 3), services.data.page("cot-arithmetic-en", 3, 3)
    assert len(first) == len(second) == 3
    assert services.data.record("cot-arithmetic-en", 3) == second[0]
    with pytest.raises(UsageError, match="no row"):
        services.data.record("cot-arithmetic-en", 10**6)


def test_a_file_is_checked_copied_used_and_removed(services, questions, home):
    entry = services.data.add(questions, "sums")
    assert (entry.rows, entry.added) == (5, True)
    questions.unlink()
    assert services.data.record("sums", 0).answer == "2"
    assert ("sums", entry.source) in services.data.sources()
    services.data.remove("sums")
    assert "sums" not in services.data.names()
    assert list((home / "data").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", '{"instruction": "x", "output": "y"}\n{"nope": 1}\n', "row 2"),
        ("a.jsonl", "{broken\n", "line 1"),
        ("a.jsonl", "", "no rows"),
        ("a.csv", "a,b\n", ".json"),
    ],
)
def test_a_bad_file_is_refused_and_leaves_nothing(services, tmp_path, home, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises((DataError, UsageError), match=words):
        services.data.add(tmp_path / name)
    assert [entry for entry in services.data.all() if entry.added] == []


@pytest.mark.parametrize("name", ["../x", "a/b", "-rf", "CON", "cot-arithmetic", "é", "x" * 80])
def test_names_that_cannot_be_are_refused(services, questions, name):
    with pytest.raises(UsageError):
        services.data.add(questions, name)


def test_paths_must_be_whole(services):
    with pytest.raises(UsageError, match="whole path"):
        services.data.add("rows.jsonl")
    with pytest.raises(DataError, match="no file"):
        services.data.add("/nowhere/rows.jsonl")


def test_what_plugins_give_cannot_be_removed(services):
    with pytest.raises(UsageError, match="plugin"):
        services.data.remove("cot-arithmetic")
    with pytest.raises(UnknownName):
        services.data.remove("cot-arithmetik")


def test_lengths_are_measured_and_binned(services):
    found = services.data.lengths("cot-arithmetic-en", "tiny")
    assert len(found.tokens) == len(found.trained) == 256
    assert sum(rows for _, _, rows in found.bins()) == 256
    assert found.over(0) == 256
    assert found.over(10**6) == 0


def test_a_changed_file_is_counted_anew(services, questions, home):
    entry = services.data.add(questions, "sums")
    write_jsonl(home / "data" / "sums.jsonl", [{"instruction": "a", "output": "b"}] * 9)
    assert services.data.show(entry.name).rows == 9
