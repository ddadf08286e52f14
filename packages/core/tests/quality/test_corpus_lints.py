"""What rows have in common: copies, near copies, one question with two answers, an evaluation set, a language."""

from __future__ import annotations

import sys

import pytest
from camelid_core.errors import DataError, MissingPackage
from camelid_core.quality import LINTS, ContaminationIndex, LanguageSample, NearDuplicateIndex
from camelid_core.records import alpaca
from hypothesis import given
from hypothesis import strategies as st

LONG = "the quick brown fox jumps over the lazy dog while seven small wizards watch it from afar and then go home "


def found(name: str, rows) -> list[str]:
    find = LINTS[name].start()
    return [find(row) for row in rows]


@given(st.lists(st.integers(0, 5), max_size=30))
def test_a_duplicate_names_the_row_it_is_a_copy_of(numbers):
    rows = [alpaca(f"q {n}", "a") for n in numbers]
    expected = [
        "" if n not in numbers[:at] else f"the same as row {numbers.index(n) + 1}" for at, n in enumerate(numbers)
    ]
    assert found("duplicate", rows) == expected


def test_one_question_with_two_answers():
    rows = [alpaca("Who?", "Ann."), alpaca("who? ", "Ann. "), alpaca("Who?", "Bob."), alpaca("Why?", "Bob.")]
    assert found("same-prompt", rows) == ["", "", "asks the same as row 1 and answers otherwise", ""]


def test_each_start_has_seen_nothing():
    row = alpaca("a", "b")
    assert found("duplicate", [row]) == found("duplicate", [row]) == [""]
    assert LINTS["duplicate"].find(row) == ""


def test_near_copies_are_found_and_others_are_not():
    rows = [
        alpaca(LONG, LONG * 2),
        alpaca(LONG, LONG * 2 + "again"),
        alpaca("a b c", LONG[::-1]),
        alpaca("我们" * 30, "好" * 40),
    ]
    assert found("near-duplicate", rows) == ["", "nearly the same as row 1", "", ""]
    chinese = "从前有一座山，山上有一座庙，庙里有一个老和尚在给小和尚讲一个很长的故事，讲的是什么呢？" * 2
    assert found("near-duplicate", [alpaca("讲", chinese), alpaca("讲", chinese + "好")])[1]


def test_without_the_extra_the_message_says_what_to_type(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(MissingPackage, match=r'pip install "camelid-core\[quality\]"'):
        NearDuplicateIndex()
    monkeypatch.setitem(sys.modules, "py3langid", None)
    with pytest.raises(MissingPackage, match="telling languages apart needs py3langid"):
        LanguageSample().shares()


def test_rows_of_an_evaluation_set_are_found_whatever_stands_around_them():
    evaluation = [alpaca("What is 1?", "1"), alpaca(LONG, "Yes.")]
    rows = [
        alpaca("Something of no importance at all, really.", "Yes."),
        alpaca("Read: " + LONG.upper().replace(" ", ", "), "No."),
        alpaca("One", "Two " + LONG[:60]),  # only 12 of its words
    ]
    finder = ContaminationIndex(evaluation)
    assert [number for number, row in enumerate(rows, 1) if finder.find(row)] == [2]
    assert "with row 2 of the evaluation set" in finder.find(rows[1])
    assert not finder.lint().find(rows[0])


def test_chinese_counts_by_the_character_and_short_questions_as_a_whole():
    known = ContaminationIndex([alpaca("小明有五个苹果，他又买了三个苹果，现在一共有几个？", "八")])
    assert known.find(alpaca("请回答：小明有五个苹果，他又买了三个苹果，现在一共有几个？谢谢", "八个"))
    assert not known.find(alpaca("小红有五个苹果", "八"))
    short = ContaminationIndex([alpaca("How many legs has a spider?", "8")])
    assert short.find(alpaca("how many legs has a spider", "Eight."))
    assert not short.find(alpaca("Guess how many legs has a spider in total", "8"))


def test_an_evaluation_set_must_fit(monkeypatch):
    with pytest.raises(DataError, match="holds no text"):
        ContaminationIndex([])
    monkeypatch.setattr("camelid_core.quality.contamination.MAX_NGRAMS", 3)
    with pytest.raises(DataError, match="over 3 runs of 13 words by row 1"):
        ContaminationIndex([alpaca(LONG, LONG)])


def test_languages_are_told_from_a_sample():
    english = "The weather is nice today and the children play in the garden."
    german = "Das Wetter ist heute schön und die Kinder spielen draußen im Garten."
    sample = LanguageSample(size=40)
    for number in range(400):
        sample.add(alpaca("42", "7") if number % 4 == 3 else alpaca(english if number % 4 else german, "ok"))
    shares = sample.shares()
    assert set(shares) == {"en", "de", "und"}
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["en"] > 0.25
