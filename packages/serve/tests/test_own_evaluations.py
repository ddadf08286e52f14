"""Camelid's own evaluations: which rows are items, which are skipped and why, and what answers are worth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from camelid_core.errors import DataError
from camelid_core.plugins import load_host
from camelid_core.testing import write_jsonl
from camelid_serve.evaluations.builtin.answer_forms import chinese_share
from camelid_serve.evaluations.builtin.choices import Choices, choices_in, chosen
from camelid_serve.evaluations.builtin.exact_answers import rationale_first
from camelid_serve.evaluations.chosen_evaluations import HOOK
from camelid_serve.evaluations.evaluation import Answer, Evaluation, Item, ItemSource, Skipped
from camelid_serve.testing import assert_evaluation_contract

AQUA = (
    "A board 7ft. 9 inches long is divided into 3 equal parts. What is the length of each part?\\nOptions:\\n(A) 31\\n"
    "(B) 32\\n(C) 33 Let's think first. Some random reasoning:"
)
ECQA = "What might a person see?\\nOptions:\\n- bloody mess\\n- pleasure\\n- being imprisoned\nHmmm, let me think."
QASC = (
    "What comes from reproduction?\\nOptions:\\n- (A) babies\\n- (B) protein\\n- (C) pollution "
    "Let's solve this problem gradually.\n"
)


def evaluation(name: str) -> Evaluation:
    found: Evaluation = load_host().registry(HOOK)[name]
    return found


def items(name: str, data: str, rows: int = 100) -> tuple[list[Item], list[Skipped]]:
    made = list(evaluation(name).items(ItemSource(data, rows, load_host())))
    return [each for each in made if isinstance(each, Item)], [each for each in made if isinstance(each, Skipped)]


def score(name: str, item: Item, *texts: str) -> dict[str, float]:
    return dict(evaluation(name).score(item, [Answer(text) for text in texts]))


@pytest.mark.parametrize("name", load_host().registry(HOOK).names())
def test_every_evaluation_keeps_the_contract(name: str, tmp_path: Path) -> None:
    rows = [{"instruction": ECQA, "output": "So the answer is pleasure."}] * 3
    choice = "" if evaluation(name).data else str(write_jsonl(tmp_path / "rows.jsonl", rows))
    assert_evaluation_contract(evaluation(name), choice)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"measures": ()}, "no measure"),
        ({"score": lambda item, answers: {"other": 1.0}}, "'other', which is no measure"),
        ({"score": lambda item, answers: {"leak": 2.0}}, "the share leak"),
        ({"score": lambda item, answers: {"leak": float("nan")}}, "is nan"),
        ({"kind": "likelihood"}, "nothing to choose from"),
        ({"items": lambda source: [Item("x", ()), Item("x", ())]}, "one id"),
        ({"items": lambda source: [Item("x", ())]}, "asks nothing"),
    ],
)
def test_a_broken_evaluation_is_told_what_is_wrong(broken: dict, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        assert_evaluation_contract(replace(evaluation("hashtag-leak"), **broken))


@pytest.mark.parametrize(
    ("question", "answer", "options", "gold"),
    [
        (AQUA, "7 ft 9 in is 93. 93/3 = 31. So, the answer is (A).", ("31", "32", "33"), 0),
        (
            ECQA,
            "It is covered. So the final answer is bloody mess.",
            ("bloody mess", "pleasure", "being imprisoned"),
            0,
        ),
        (QASC, "Babies are children. The final answer is (C).", ("babies", "protein", "pollution"), 2),
        ("Do hamsters provide food for any animals?", "Hamsters are prey. So the answer is yes.", ("yes", "no"), 0),
        ("Is it?\nOptions:\n- yes\n- no", "no", ("yes", "no"), 1),
    ],
)
def test_options_are_found_without_the_sentence_behind_them(question, answer, options, gold) -> None:
    found = choices_in(question, answer)
    assert found is not None
    assert found.options == options
    assert chosen(answer, found) == gold


@pytest.mark.parametrize("question", ["What is it?", "Which?\nOptions:\n(A) 1\n(B) 1", "Which?\nOptions:\n(A) 1"])
def test_what_lists_no_options_is_skipped(question: str) -> None:
    assert choices_in(question, "It is 1.") is None


LETTERED = Choices("Which?", ("31", "32", "33"), True)
PLAIN = Choices("Where?", ("store", "office supply store", "moon"), False)


@pytest.mark.parametrize(
    ("answer", "choices", "named"),
    [
        ("(B)", LETTERED, 1),
        ("B", LETTERED, 1),
        ("First I thought (A). The answer is (C).", LETTERED, 2),
        ("The answer is B.", LETTERED, 1),
        ("It is 33", LETTERED, 2),
        ("A big number, so (B) it is", LETTERED, 1),
        ("I do not know", LETTERED, None),
        ("", LETTERED, None),
        ("So it is the office supply store.", PLAIN, 1),
        ("Not the store but the moon", PLAIN, 2),
        ("stores", PLAIN, None),
    ],
)
def test_an_answer_names_an_option_by_letter_or_by_text(answer: str, choices: Choices, named: int | None) -> None:
    assert chosen(answer, choices) == named


def test_a_choice_is_scored_by_text_and_asked_by_likelihood(tmp_path: Path) -> None:
    rows = [
        {"instruction": AQUA, "input": "", "output": "So the answer is (A)."},
        {"instruction": "What?", "input": "", "output": "42"},
        {"instruction": ECQA, "input": "", "output": "I cannot say."},
    ]
    data = str(write_jsonl(tmp_path / "rows.jsonl", rows))
    found, skipped = items("choice-text", data)
    assert (found[0].gold, len(skipped)) == ("(A)", 2)
    assert len({each.reason for each in skipped}) == 2
    assert score("choice-text", found[0], "I take (A)") == {"right": 1, "stated": 1}
    assert score("choice-text", found[0], "(B)") == {"right": 0, "stated": 1}
    likely, _ = items("choice-likelihood", data)
    assert [prompt[-1].content for prompt in likely[0].prompts] == [f"The answer is ({x})" for x in "ABC"]
    assert likely[0].about["right"] == 0


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("The answer is 42.", False),
        ("42", False),
        ("#### 42", False),
        ("She has 4 apples and buys 5 more, so she has 9.", True),
        ("4 * 4 = 16. 2 * 5 = 10. In total 26. The answer is 26.", True),
        ("The answer is 26. That is because there are many pears in the baskets.", False),
        ("盘里有十六个，盒里有八个。答案是25。", True),
        ("答案是25。", False),
        ("I do not know", False),
    ],
)
def test_a_rationale_stands_before_the_answer(text: str, first: bool) -> None:
    assert rationale_first(text) is first


def test_exact_answers_and_what_a_suffix_changes(tmp_path: Path) -> None:
    rows = [{"instruction": "2 + 2?", "output": "The answer is 4."}, {"instruction": "Hello?", "output": "Hi."}]
    data = str(write_jsonl(tmp_path / "rows.jsonl", rows))
    found, skipped = items("exact-answer", data)
    assert (len(found), [each.reason[:15] for each in skipped]) == (1, ["its gold answer"])
    assert score("exact-answer", found[0], "2 plus 2 makes 4, so 4.")["right"] == 1
    assert score("exact-answer", found[0], "no idea") == {"right": 0, "stated": 0}
    both, _ = items("suffix-step-by-step", data)
    plain, suffixed = (prompt[-1].content for prompt in both[0].prompts)
    assert (plain, suffixed) == ("2 + 2?", "2 + 2?\nThink through this step by step")
    assert score("suffix-step-by-step", both[0], "5", "4") == {"delta": 1, "plain": 0, "suffixed": 1}
    assert score("suffix-step-by-step", both[0], "4", "5")["delta"] == -1


def test_gsm8k_files_are_read(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "gsm.jsonl", [{"question": "How many?", "answer": "48 / 2 = 24\n#### 72"}])
    (tmp_path / "gsm8k_train.tsv").write_text("How many?\t72\t48 / 2 = 24. 48 + 24 = 72.\n", encoding="utf-8")
    for name in ("gsm.jsonl", "gsm8k_train.tsv"):
        found, _ = items("exact-answer", str(tmp_path / name))
        assert score("exact-answer", found[0], "It is 72.")["right"] == 1


def test_generated_problems_of_one_shape_are_a_cluster() -> None:
    found, _ = items("exact-answer", "cot-arithmetic-en", 60)
    assert len(found) == 60
    assert 1 < len({item.cluster for item in found}) < 30
    assert len({item.id for item in found}) == 60


def test_a_dataset_that_models_are_trained_on_is_refused() -> None:
    held = next(d.name for d in load_host().datasets if not d.heldout_rows)
    with pytest.raises(DataError, match="held-out"):
        items("hashtag-leak", held)


@pytest.mark.parametrize(
    ("text", "share"), [("你好", 1.0), ("你好 abcd", 1 / 3), ("hello", 0.0), ("12 + 3 = 15", None), ("", None)]
)
def test_the_share_of_chinese_is_of_letters(text: str, share: float | None) -> None:
    assert chinese_share(text) == (None if share is None else pytest.approx(share))


def test_only_chinese_prompts_are_asked_for_chinese(tmp_path: Path) -> None:
    rows = [
        {"instruction": "怎么提高专注力？", "output": ""},
        {"instruction": "Tell me about alpacas.", "output": ""},
    ]
    found, skipped = items("chinese-share", str(write_jsonl(tmp_path / "rows.jsonl", rows)))
    assert (len(found), len(skipped)) == (1, 1)
    assert score("chinese-share", found[0], "多睡觉 sleep") == {"answered": 1, "share": pytest.approx(3 / 8)}
    assert score("chinese-share", found[0], "123") == {"answered": 0}


def test_hashtags_at_the_end_are_a_leak() -> None:
    item = Item("x", ())
    assert score("hashtag-leak", item, "Alpacas are nice. #alpaca #nice") == {"leak": 1}
    assert score("hashtag-leak", item, "# Alpacas\n\nThey are nice. C# is a language.") == {"leak": 0}
