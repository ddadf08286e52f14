"""How a stated number is found and compared."""

from __future__ import annotations

import pytest
from camelid_core.final_answers import final_answer, same_answer
from hypothesis import given
from hypothesis import strategies as st

INTEGERS = st.integers(-(10**12), 10**12)
WIDE = str.maketrans("0123456789", "０１２３４５６７８９")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("3 boxes hold 3 * 4 = 12 pens. 12 - 5 = 7 pens are left. The answer is 7.", "7"),
        ("共有 3 * 4 = 12 个。答案是７。", "7"),
        ("答案为：12", "12"),
        ("The answer is 4. No, the answer is 5. That took 2 tries.", "5"),
        ("The answer is: **$1,234.50**.", "1234.5"),
        ("THE ANSWER IS -8", "-8"),
        ("The answer is unknown; 3 or 4", "4"),
        ("12-5", "5"),
        ("(9)-5", "5"),
        ("from 12 to −5", "-5"),
        ("答案是－５。", "-5"),
        ("１２，３４５", "12345"),
        ("有12，345", "345"),
        ("1,2,3", "3"),
        ("1,2345", "2345"),
        ("007", "7"),
        ("-0.0", "0"),
        ("0.50", "0.5"),
        ("100", "100"),
        ("none", None),
        ("", None),
    ],
)
def test_a_stated_number_is_found_and_written_one_way(text, answer):
    assert final_answer(text) == answer


@given(INTEGERS, INTEGERS, st.sampled_from(["The answer is {}.", "答案是{}。", "so the answer is {}, I think", "{}"]))
def test_every_way_to_write_a_number_states_it(number, other, frame):
    for written in (f"{number}", f"{number:,}", f"{number}.0", f"{number}".translate(WIDE)):
        text = f"First {other}. Then: {frame.format(written)}"
        assert final_answer(text) == str(number)
        assert same_answer(text, str(number))


@given(INTEGERS, INTEGERS)
def test_two_answers_are_the_same_when_their_numbers_are(a, b):
    assert same_answer(f"The answer is {a}.", f"答案是{b}。") == (a == b)


@given(st.text())
def test_any_text_is_accepted_and_an_answer_states_itself(text):
    answer = final_answer(text)
    assert answer is None or final_answer(answer) == answer


def test_no_answer_equals_nothing():
    assert not same_answer("none", "none")
    assert not same_answer(None, "7")
