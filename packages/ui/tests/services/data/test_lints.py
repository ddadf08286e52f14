"""Lints: what is found, what a cleaned dataset leaves out, and that the dataset itself never changes."""

from __future__ import annotations

import threading

import pytest
from camelid_core.datasets import library
from camelid_core.errors import CamelidError, UsageError
from camelid_core.records import alpaca
from camelid_ui.services.data.lints import clean_command_options, clean_options

ROWS = [
    alpaca("What is 2 + 2?", "It is four."),
    alpaca("What is 2 + 2?", "It is four."),
    alpaca("Say hello to all.", ""),
    alpaca("Name a big city.", "Paris is one. #travel #city"),
]


@pytest.fixture
def lints(services):
    library.add(ROWS, "dirty", licence="mit", languages=("en",))
    return services.data.lints


def found(checked):
    return {lint.name: rows for lint, rows, _ in checked.problems}


def test_the_first_rows_are_checked_at_once(lints):
    checked = lints.sample("dirty")
    assert checked.exact
    assert {"duplicate", "empty-output", "trailing-hashtags"} <= set(found(checked))
    assert not set(found(checked)) & set(checked.passed)


def test_all_rows_are_checked_on_request(lints):
    work = lints.check("dirty").wait(240)
    assert work.state == "done", work.error
    assert lints.known("dirty").thorough
    assert found(lints.known("dirty")).items() >= found(lints.sample("dirty")).items()


def test_a_cleaned_dataset_is_written_and_the_original_stays(lints, services):
    before = services.data.collection.page("dirty", 0, 10)
    work = lints.write("dirty", {"duplicate": "drop", "empty-output": "drop", "trailing-hashtags": "fix"}).wait(240)
    assert work.state == "done", work.error
    made = work.result
    assert (made.entry.name, made.entry.rows, made.entry.parent, made.entry.licence) == (
        "dirty-v2", 2, "dirty", "mit"
    )  # fmt: skip
    assert "--fix trailing-hashtags" in made.entry.step
    assert (made.account.read, made.account.kept, made.account.fixed["trailing-hashtags"]) == (4, 2, 1)
    assert [record.answer for record in services.data.collection.page("dirty-v2", 0, 9)] == [
        "It is four.", "Paris is one.",
    ]  # fmt: skip
    assert services.data.collection.page("dirty", 0, 10) == before
    assert services.data.lints.write("dirty", {"duplicate": "drop"}).wait(240).result.entry.name == "dirty-v3"


def test_texts_of_an_evaluation_set_are_found_and_left_out(lints, services):
    asked = "How many apples are left in the basket now?"
    library.add([alpaca(asked, "Three."), *ROWS[:3]], "mine")
    library.add([alpaca(asked, "3")], "exam")
    with pytest.raises(CamelidError, match="exma"):
        lints.check("mine", "exma")
    work = lints.check("mine", "exam").wait(240)
    assert work.state == "done", work.error
    assert (lints.known("mine").against, found(work.result)["contamination"]) == ("exam", 1)
    made = lints.write("mine", {"contamination": "drop", "duplicate": "drop"}).wait(240).result
    assert made.entry.step == "--dedupe exact --against exam"
    assert [record.prompt[-1].content for record in services.data.collection.page(made.entry.name, 0, 9)] == [
        "What is 2 + 2?", "Say hello to all.",
    ]  # fmt: skip
    assert "contamination" not in found(lints.check("mine").wait(240).result)


def test_a_second_cleaned_dataset_is_not_taken_for_the_first(lints):
    over = threading.Event()
    lints.background.start("version dirty", lambda report: over.wait(240))
    try:
        with pytest.raises(UsageError, match="is being written"):
            lints.write("dirty", {"refusal": "drop"}, "another")
    finally:
        over.set()


def test_nothing_to_do_and_taken_names_are_said(lints):
    with pytest.raises(UsageError, match="drop or fix"):
        lints.write("dirty", {})
    with pytest.raises(UsageError, match="already"):
        lints.write("dirty", {"refusal": "drop"}, "cot-arithmetic")


def test_duplicates_are_deduplicated_not_dropped():
    given = {"duplicate": "drop", "near-duplicate": "drop", "refusal": "drop", "mojibake": "fix"}
    assert clean_options(given) == {"drop": ["refusal"], "fix": ["mojibake"], "deduplicate": "near"}
    assert clean_command_options(given) == "--drop refusal --fix mojibake --dedupe near"
