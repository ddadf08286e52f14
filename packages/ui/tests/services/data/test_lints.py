"""Checks: what is found, what a new version leaves out, and that the set itself never changes."""

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
def checks(services):
    library.add(ROWS, "dirty", licence="mit", languages=("en",))
    return services.data.lints


def found(checked):
    return {lint.name: rows for lint, rows, _ in checked.problems}


def test_the_first_rows_are_looked_at_at_once(checks):
    checked = checks.sample("dirty")
    assert checked.exact
    assert {"duplicate", "empty-output", "trailing-hashtags"} <= set(found(checked))
    assert not set(found(checked)) & set(checked.passed)


def test_all_rows_are_checked_when_asked(checks):
    work = checks.check("dirty").wait(30)
    assert work.state == "done", work.error
    assert checks.known("dirty").thorough
    assert found(checks.known("dirty")).items() >= found(checks.sample("dirty")).items()


def test_a_new_version_is_written_and_the_set_stays(checks, services):
    before = services.data.collection.page("dirty", 0, 10)
    work = checks.write("dirty", {"duplicate": "drop", "empty-output": "drop", "trailing-hashtags": "fix"}).wait(30)
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
    assert services.data.lints.write("dirty", {"duplicate": "drop"}).wait(30).result.entry.name == "dirty-v3"


def test_texts_of_an_evaluation_set_are_found_and_left_out(checks, services):
    asked = "How many apples are left in the basket now?"
    library.add([alpaca(asked, "Three."), *ROWS[:3]], "mine")
    library.add([alpaca(asked, "3")], "exam")
    with pytest.raises(CamelidError, match="exma"):
        checks.check("mine", "exma")
    work = checks.check("mine", "exam").wait(30)
    assert work.state == "done", work.error
    assert (checks.known("mine").against, found(work.result)["contamination"]) == ("exam", 1)
    made = checks.write("mine", {"contamination": "drop", "duplicate": "drop"}).wait(30).result
    assert made.entry.step == "--dedupe exact --against exam"
    assert [record.prompt[-1].content for record in services.data.collection.page(made.entry.name, 0, 9)] == [
        "What is 2 + 2?", "Say hello to all.",
    ]  # fmt: skip
    assert "contamination" not in found(checks.check("mine").wait(30).result)


def test_a_second_version_is_not_taken_for_the_first(checks):
    over = threading.Event()
    checks.background.start("version dirty", lambda report: over.wait(30))
    try:
        with pytest.raises(UsageError, match="is being written"):
            checks.write("dirty", {"refusal": "drop"}, "another")
    finally:
        over.set()


def test_nothing_to_do_and_taken_names_are_said(checks):
    with pytest.raises(UsageError, match="drop or fix"):
        checks.write("dirty", {})
    with pytest.raises(UsageError, match="already"):
        checks.write("dirty", {"refusal": "drop"}, "cot-arithmetic")


def test_copies_are_left_out_as_copies():
    given = {"duplicate": "drop", "near-duplicate": "drop", "refusal": "drop", "mojibake": "fix"}
    assert clean_options(given) == {"drop": ["refusal"], "fix": ["mojibake"], "deduplicate": "near"}
    assert clean_command_options(given) == "--drop refusal --fix mojibake --dedupe near"
