"""The collection: search and filters, rows in any order, removing."""

from __future__ import annotations

import pytest
from camelid_core.datasets import library
from camelid_core.datasets.dataset import Dataset
from camelid_core.errors import DataError, UnknownName, UsageError
from camelid_core.records import alpaca
from camelid_core.testing import write_jsonl
from camelid_ui.services.data.dataset_entries import facets
from camelid_ui.services.data.rows import RowReader
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def collection(services):
    return services.data.collection


def test_everything_registered_is_listed_and_found(collection):
    assert "cot-arithmetic" in collection.names()
    assert [entry.name for entry in collection.all("cot problems", {"language": "zh"})] == [
        "cot-arithmetic", "cot-arithmetic-zh", "cot-arithmetic-preferences",
    ]  # fmt: skip
    assert collection.all("nothing like it") == []


def test_facets_count_what_choosing_them_gives(collection):
    found = facets(collection.all())
    for name, values in found.items():
        for value, number in values.items():
            assert len(collection.all("", {name: value})) == number


def test_datasets_whose_rows_are_elsewhere_say_what_to_fetch(collection):
    away = [entry for entry in collection.all() if entry.availability == "fetch"]
    assert all(entry.missing for entry in away)
    assert not {entry.source for entry in away} & {source for _, source in collection.sources()}
    for entry in away[:1]:
        with pytest.raises(DataError, match="not on this machine"):
            collection.records(entry.name)


def test_rows_come_in_pages(collection):
    first, second = collection.page("cot-arithmetic-en", 0, 3), collection.page("cot-arithmetic-en", 3, 3)
    assert len(first) == len(second) == 3
    assert collection.record("cot-arithmetic-en", 3) == second[0]
    with pytest.raises(UsageError, match="no row"):
        collection.record("cot-arithmetic-en", 10**6)


@given(
    size=st.integers(0, 40),
    room=st.integers(0, 200),
    asked=st.lists(st.tuples(st.integers(0, 45), st.integers(1, 9)), max_size=8),
)
def test_any_page_is_what_stands_there(size, room, asked):
    records = [alpaca(f"question {number}", "answer") for number in range(size)]
    rows = RowReader(lambda: iter(records))
    rows._room = room
    for start, length in asked:
        assert rows.page(start, length) == records[start : start + length]
        assert rows.total in (None, size)


def test_added_datasets_come_first_and_can_be_removed(collection, home):
    library.add([alpaca("a", "b")], "mine", parent="cot-arithmetic", step="--drop refusal", licence="mit")
    entry = collection.all()[0]
    assert (entry.name, entry.rows, entry.added, entry.parent, entry.licence) == (
        "mine", 1, True, "cot-arithmetic", "mit"
    )  # fmt: skip
    collection.remove("mine")
    assert "mine" not in collection.names()
    with pytest.raises(UsageError, match="plugin"):
        collection.remove("cot-arithmetic")
    with pytest.raises(UnknownName):
        collection.remove("cot-arithmetik")


def test_a_file_put_there_by_hand_is_counted_anew_when_it_changes(collection, home):
    (home / "data").mkdir()
    for rows in (2, 9):
        write_jsonl(home / "data" / "sums.jsonl", [{"instruction": "a", "output": "b"}] * rows)
        assert collection.show("sums").rows == rows


def test_sources_are_found_by_name_and_by_path(collection, questions):
    assert collection.find("cot-arithmetic").name == "cot-arithmetic"
    assert collection.find(str(questions)).rows == 5
    with pytest.raises(UnknownName):
        collection.find("no-such-set")


def test_a_dataset_is_fetched_in_the_background_and_then_here(services):
    """A dataset of a plugin that fetches its own files, as the collection does."""
    here: list[str] = []

    def fetch(revision, progress):
        progress("rows.json", 5, 10)
        here.append("rows.json")
        return []

    given = Dataset(
        "far", "Far away.", "mit", ("en",), 1, lambda split, limit: iter([alpaca("a", "b")]),
        missing=lambda: "" if here else "far is not on this machine.", fetch=fetch,
    )  # fmt: skip
    services.host.datasets.add(given, "camelid-test")
    collection = services.data.collection
    assert (collection.show("far").availability, collection.show("far").fetchable) == ("fetch", True)
    with pytest.raises(DataError):
        collection.records("far")
    work = services.data.fetch.start("far").wait(240)
    assert (work.state, work.unit, work.item, work.total) == ("done", "bytes", "rows.json", 10)
    assert collection.show("far").availability == "here"
    assert len(collection.page("far", 0, 9)) == 1
    with pytest.raises(UsageError, match="cannot be fetched"):
        services.data.fetch.start("cot-arithmetic")
