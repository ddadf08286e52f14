"""Every calculation, answer and split of `cot-arithmetic`, by property."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from itertools import islice

import pytest
from camelid_core.builtin import cot_arithmetic
from camelid_core.builtin.cot_arithmetic import LANGUAGES, PROBLEM_SHAPES, SOURCE, generate, split_of
from camelid_core.builtin.cot_arithmetic.shapes import ProblemShape
from camelid_core.errors import DataError
from camelid_core.final_answers import final_answer
from hypothesis import given
from hypothesis import strategies as st

CALCULATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")
SPLITS = st.sampled_from(["train", "heldout"])
SEEDS = st.integers(0, 10**9)

INDEPENDENT = {
    "buying": lambda n, p, m: m - n * p,
    "sharing": lambda a, b, k: (a + b) / k,
    "travel": lambda h, v, d: h * v + d,
    "saving": lambda goal, m, w: (goal - m) / w,
    "packing": lambda n, e, k: n * e / k,
    "ages": lambda a, k, y: a * k + y,
    "discount": lambda p, off, n, m: m - n * (p - off),
    "harvest": lambda a, b, c, d: a * b + c * d,
    "tank": lambda i, o, t, s: s + t * (i - o),
    "party": lambda a, b, c, d, e: a * b + c * d - e,
    "moving": lambda a, b, c, d, k: (a * b + c - d) / k,
}


def problem(record):
    """The shape and numbers of a record, whatever its language."""
    _, shape, *numbers = record.id.split("-")
    return shape, tuple(map(int, numbers))


def count_problems(split, shapes=PROBLEM_SHAPES) -> int:
    """How many different problems a split has, in any one language."""
    every = ((shape, numbers) for shape in shapes for numbers in shape.shuffled_assignments(random.Random(0)))
    return sum(split_of(shape.name, numbers.values()) == split for shape, numbers in every if shape.solve(numbers))


@given(SPLITS, SEEDS)
def test_every_calculation_is_right_and_its_result_small(split, seed):
    for record in generate(split, 20, seed):
        calculations = CALCULATION.findall(record.answer)
        assert f"steps-{len(calculations)}" == record.tags[2]
        for left, sign, right, result in calculations:
            exact = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": int.__truediv__}[sign]
            assert exact(int(left), int(right)) == int(result)
            assert 1 <= int(result) <= 999


@given(SPLITS, SEEDS)
def test_a_rejected_answer_goes_wrong_in_its_last_step_alone(split, seed):
    for record in generate(split, 20, seed, rejected=True):
        right, wrong = CALCULATION.findall(record.answer), CALCULATION.findall(record.rejected)
        assert wrong[:-1] == right[:-1]
        assert wrong[-1][:3] == right[-1][:3]
        assert 1 <= abs(int(wrong[-1][3]) - int(right[-1][3])) <= 3
        assert final_answer(record.rejected) == wrong[-1][3]
        assert int(wrong[-1][3]) > 0
    assert all(record.rejected is None for record in generate(split, 3, seed))


@given(SPLITS, SEEDS)
def test_the_stated_answer_is_that_of_an_independent_evaluation(split, seed):
    for record in generate(split, 20, seed):
        shape, numbers = problem(record)
        assert final_answer(record.answer) == f"{INDEPENDENT[shape](*numbers):g}"


@given(SPLITS, SEEDS)
def test_a_question_gives_exactly_the_numbers_of_its_problem(split, seed):
    for record in generate(split, 20, seed):
        asked = sorted(map(int, re.findall(r"\d+", record.messages[0].content)))
        assert asked == sorted(problem(record)[1])


@given(SPLITS, SEEDS)
def test_records_are_tagged_in_their_language_and_leave_no_placeholder(split, seed):
    for record, language in zip(generate(split, 4, seed), ("en", "zh", "en", "zh"), strict=True):
        assert record.source == SOURCE
        assert record.tags[:2] == (language, problem(record)[0])
        text = record.messages[0].content + record.answer
        assert not set("{}") & set(text)
        assert bool(re.search("[\u4e00-\u9fff]", text)) == (language == "zh")


@given(SPLITS, SEEDS)
def test_the_same_seed_gives_the_same_rows_and_another_seed_gives_others(split, seed):
    rows = list(generate(split, 12, seed))
    assert rows == list(generate(split, 12, seed))
    assert rows != list(generate(split, 12, seed + 1))


@given(SEEDS)
def test_a_language_draws_the_same_rows_alone_as_with_others(seed):
    assert list(generate("train", 5, seed, ("zh",))) == list(generate("train", 10, seed))[1::2]


def test_rows_are_the_same_on_every_platform_and_version():
    assert [record.id for record in generate("train", 4)] == [
        "en-travel-2-2-28",
        "zh-travel-2-8-23",
        "en-moving-3-9-10-9-4",
        "zh-packing-4-7-2",
    ]


def test_the_splits_share_no_problem_in_any_language_nor_in_another_order_of_its_numbers():
    train = {
        (shape, tuple(sorted(numbers))) for shape, numbers in map(problem, generate("train", 8000, languages=("en",)))
    }
    held_out = [problem(record) for record in generate("heldout", 6000)]
    assert not train & {(shape, tuple(sorted(numbers))) for shape, numbers in held_out}
    assert {split_of(*one) for one in held_out} == {"heldout"}


def test_about_a_tenth_is_held_out_and_both_splits_are_large():
    train, held_out = count_problems("train"), count_problems("heldout")
    assert held_out >= 3000
    assert 0.08 <= held_out / (train + held_out) <= 0.12


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_has_all_shapes_and_two_to_four_steps(language):
    tags = {record.tags for record in generate("train", 500, languages=(language,))}
    assert {shape for _, shape, _ in tags} == {shape.name for shape in PROBLEM_SHAPES} == set(INDEPENDENT)
    assert len(PROBLEM_SHAPES) >= 8
    assert {steps for *_, steps in tags} == {"steps-2", "steps-3", "steps-4"}
    assert set(LANGUAGES[language].wordings) == set(INDEPENDENT)


@pytest.mark.parametrize("shape", PROBLEM_SHAPES, ids=lambda shape: shape.name)
def test_every_thing_and_name_of_a_wording_is_used(shape):
    texts = defaultdict(str)
    for record in islice((r for r in generate("train", 12000) if r.tags[1] == shape.name), 400):
        texts[record.tags[0]] += record.messages[0].content
    for code, language in LANGUAGES.items():
        assert all(thing in texts[code] for thing in language.wordings[shape.name].things)
        assert "{who}" not in language.wordings[shape.name].question or all(n in texts[code] for n in language.names)


def test_ages_are_never_those_of_a_person_and_themselves():
    for record in generate("train", 1200, languages=("en",)):
        if record.tags[1] == "ages":
            who, other = re.findall(r"(\w+) is", record.messages[0].content)
            assert who != other


@given(st.integers(1, 300), SEEDS)
def test_shuffled_assignments_hold_every_assignment_once(size, seed):
    shape = ProblemShape("line", {"x": range(size)}, ())
    found = [numbers["x"] for numbers in shape.shuffled_assignments(random.Random(f"{seed}"))]
    assert sorted(found) == list(range(size))


def test_rows_are_made_when_they_are_taken(monkeypatch):
    made = []
    plain = cot_arithmetic._record
    monkeypatch.setattr(cot_arithmetic, "_record", lambda *given: made.append(given) or plain(*given))
    assert len(list(islice(generate("train", 10**6), 10))) == 10
    assert len(made) == 10


def test_no_row_repeats_until_the_split_is_used_up_and_the_error_says_how_many_there_are(monkeypatch):
    shapes = [shape for shape in PROBLEM_SHAPES if shape.name in ("packing", "ages")]
    monkeypatch.setattr(cot_arithmetic, "PROBLEM_SHAPES", shapes)
    total = 2 * count_problems("train", shapes)
    rows = generate("train", total + 1)
    ids = [record.id for record in islice(rows, total)]
    assert len(set(ids)) == total
    with pytest.raises(DataError, match=f"^cot-arithmetic has only {total} different train rows in en and zh, .*[.]$"):
        next(rows)
    assert len(list(generate("train", total))) == total


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("test", 1), "has no split 'test'. Choose train or heldout."),
        (("train", -1), "cannot make -1 rows. Ask for 0 or more."),
        (("train", 1, 0, ("en", "fr")), "cannot use the languages en, fr. Give each at most once, from: en, zh."),
        (("train", 1, 0, ("en", "en")), "cannot use the languages en, en. Give each at most once, from: en, zh."),
        (("train", 1, 0, ()), "cannot use the languages none. Give each at most once, from: en, zh."),
    ],
)
def test_an_argument_that_does_not_fit_is_refused_at_once_in_a_sentence(arguments, sentence):
    with pytest.raises(DataError) as error:
        generate(*arguments)
    assert str(error.value) == f"{SOURCE} {sentence}"


def test_no_rows_may_be_asked_for():
    assert list(generate("train", 0)) == []
