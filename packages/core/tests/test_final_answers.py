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
        ("5e3", "5000"),
        ("It is 1.5E-3 m", "0.0015"),
        ("5 × 10^3", "5000"),
        (r"5 \times 10^{-2}", "0.05"),
        ("5×10³", "5000"),
        ("2^10", "1024"),
        ("2**10", "1024"),
        ("1/3", "1/3"),
        ("The answer is 2 / 6.", "1/3"),
        ("-1/2", "-0.5"),
        (r"\frac{1}{3}", "1/3"),
        (r"-\dfrac{2}{4}", "-0.5"),
        (r"\frac12", "0.5"),
        ("1 1/2 cups", "1.5"),
        (r"1\frac{1}{2}", "1.5"),
        ("1½", "1.5"),
        ("¾", "0.75"),
        (".5", "0.5"),
        ("-$5", "-5"),
        (r"\$1{,}234", "1234"),
        ("1'234'567", "1234567"),
        ("The answer is 3 million.", "3000000"),
        ("答案是3万", "30000"),
        ("0x1F", "31"),
        ("The answer is 10:30.", "10:30"),
        ("on 2024-05-06", "2024-05-06"),
        ("version 1.2.3.", "1.2.3"),
        ("3/4/2024", "3/4/2024"),
        ("1/0", "1/0"),
        ("20 cm^2", "20"),
        (r"20 \text{ cm}^2", "20"),
        ("**2** and **3**", "3"),
        ("The answer is 3 + 4 = 7, in 2 steps", "7"),
        (r"So \boxed{42}. That is 7 * 6, found in 3 steps.", "42"),
        (r"\boxed{1} or rather $\boxed{\frac{1}{2}}$", "0.5"),
        (r"\boxed{x = 5}", "5"),
        (r"\boxed{20 \text{ cm}}, 3 tries", "20"),
        (r"\boxed{2\sqrt{3}}", r"\boxed{2\sqrt{3}}"),
        (r"\boxed{12", "12"),
        ("#### 5\nQuestion: 3 + 4?\n#### 7", "5"),
        ("The answer is 9.\n#### -1,234", "-1234"),
        ("#### 1. Think\nIt is 12.\n#### 2. Done", "2"),
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


VALUES = (
    r"""
1/2 | 1/3 | 1/30 | 5e3 | 5e4 | 5e-3 | 5e30 | 2^10 | 2^11 | 10:30 | 10:45 | 1.5
1.50001 | -7 | 7 | 3/4/2024 | 0x1F | 0x2F | 2 1/2 | 2 2/3 | 3 million | 3 | 3 billion | 2024-05-06
2024-05-07 | 1.2.3 | 1.2.4 | .75 | .25 | \frac{2}{7} | \frac{3}{7} | -$5 | $5.5 | \boxed{2\sqrt{3}} | \boxed{2\sqrt{5}}
""".strip()
    .replace("\n", " | ")
    .split(" | ")
)


@pytest.mark.parametrize(
    "frame", ["The answer is {}.", "答案是{}。", "{}", "#### {}", r"\boxed{{{}}} after 9 tries", "First 8. Then {}"]
)
def test_a_piece_of_a_value_is_never_taken_for_it(frame):
    stated = [frame.format(value) for value in VALUES]
    assert [[same_answer(a, b) for b in stated] for a in stated] == [[a == b for b in stated] for a in stated]


@given(st.fractions(max_denominator=10**6), st.fractions(max_denominator=10**6))
def test_fractions_are_the_same_when_their_values_are(a, b):
    assert same_answer(f"{a.numerator}/{a.denominator}", f"The answer is {b}.") == (a == b)
    assert same_answer(f"{2 * a.numerator}/{2 * a.denominator}", str(a))


def test_a_box_equals_its_bare_content():
    assert same_answer(r"So \boxed{ 2 \sqrt{3} }.", r"2\sqrt{3}")
    assert not same_answer(r"So \boxed{2\sqrt{3}}.", "3")


@pytest.mark.parametrize("huge", ["9" * 5000, "5e99999999", "9^99999", "1/" + "7" * 5000, "1" + ",000" * 2000])
def test_what_is_too_long_to_compute_is_compared_as_it_is_written(huge):
    assert same_answer(huge, huge)
    assert not same_answer(huge, huge + "1")


@given(st.text(alphabet="0123456789.,-/*^e×:$x \\{}½#万"))
def test_a_normal_answer_states_itself(text):
    answer = final_answer(text)
    assert answer is None or final_answer(answer) == answer


@given(st.text())
def test_any_text_is_accepted_and_an_answer_states_itself(text):
    answer = final_answer(text)
    assert answer is None or final_answer(answer) == answer


def test_no_answer_equals_nothing():
    assert not same_answer("none", "none")
    assert not same_answer(None, "7")
