"""The library of added datasets: there whole or not at all, found by name, versioned, described."""

from __future__ import annotations

import hashlib
import json

import pytest
from camelid_core.datasets import library
from camelid_core.datasets.sources import all_datasets, open_dataset
from camelid_core.errors import DataError, UnknownName, UsageError
from camelid_core.paths import data_dir
from camelid_core.plugins import load_host
from camelid_core.records import Message, Record, alpaca

RECORDS = [
    Record(alpaca("q", "a", "c").messages, "1", "s", ("t",)),
    Record((Message("system", "s"), Message("user", "q"), Message("assistant", "a"), Message("user", "r")), "2", "s"),
]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CAMELID_HOME", str(tmp_path))


def test_what_is_added_comes_back_as_it_was():
    added = library.add(iter(RECORDS), "mine", licence="cc0-1.0", languages=["en"], help="Two rows.")
    assert (added.name, added.rows, added.licence, added.languages) == ("mine", 2, "cc0-1.0", ("en",))
    assert list(added.load("train", None)) == RECORDS
    assert list(added.load("train", 1)) == RECORDS[:1]
    found = open_dataset("mine", load_host().datasets)
    assert (found.rows, found.help) == (2, "Two rows.")
    assert [item.name for item in all_datasets(load_host().datasets)] == ["mine", *load_host().datasets.names()]


def test_an_added_dataset_is_described():
    library.add(RECORDS, "mine", source="/x.csv", reader="alpaca")
    library.add(RECORDS[:1], "mine-v2", parent="mine", step="clean: dropped 1")
    description = library.read_description("mine-v2")
    content = (data_dir() / "mine-v2" / library.ROWS).read_bytes()
    assert (description.rows, description.parent, description.step) == (1, "mine", "clean: dropped 1")
    assert description.sha256 == hashlib.sha256(content).hexdigest()
    assert (library.read_description("mine").source, library.read_description("mine").reader) == ("/x.csv", "alpaca")
    assert [item.name for item in library.added()] == ["mine-v2", "mine"]


@pytest.mark.parametrize("name", ["mine", "cot-arithmetic"])
def test_a_taken_name_is_refused_with_a_free_one(name):
    library.add(RECORDS, "mine")
    with pytest.raises(UsageError, match=rf"there is a dataset {name!r} already; '{name}-v2' would be free"):
        library.add(RECORDS, name)


def test_versions_count_on():
    assert library.next_version_name("mine") == "mine-v2"
    library.add(RECORDS, "mine-v2")
    assert library.next_version_name("mine") == library.next_version_name("mine-v2") == "mine-v3"
    assert len(library.next_version_name("x" * 64)) == 64


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".hidden", "CON", "x" * 65])
def test_names_that_are_no_names_are_refused(name):
    with pytest.raises(UsageError, match="cannot be used"):
        library.add(RECORDS, name)


def test_a_source_that_breaks_off_leaves_nothing():
    def broken():
        yield RECORDS[0]
        raise DataError("broken")

    for records in (broken(), iter(())):
        with pytest.raises(DataError):
            library.add(records, "mine")
    assert list(data_dir().iterdir()) == []
    assert library.added() == []


def test_removing_takes_it_away():
    library.add(RECORDS, "mine")
    library.remove("mine")
    assert list(data_dir().iterdir()) == []
    for gone in (library.remove, library.get, library.read_description):
        with pytest.raises(UnknownName, match="added dataset 'mine' is not known"):
            gone("mine")


def test_files_put_there_by_hand_are_found_and_damage_hides_only_itself():
    library.add(RECORDS, "mine")
    (data_dir() / "old.jsonl").write_text(json.dumps({"instruction": "q", "output": "a"}))
    (data_dir() / "bad").mkdir()
    (data_dir() / "bad" / library.ABOUT).write_text("{")
    assert {item.name for item in library.added()} == {"mine", "old"}
    assert len(list(library.get("old").load("train", None))) == 1
    with pytest.raises(DataError, match="is damaged"):
        library.get("bad")
    library.remove("old")
    library.remove("bad")
    assert [item.name for item in library.added()] == ["mine"]
