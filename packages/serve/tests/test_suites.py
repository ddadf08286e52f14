"""Suites on small stand-ins of their files: prompts byte for byte, rules of scoring, the average of what is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from camelid_core.artefacts import verify_directory
from camelid_core.errors import ConfigError, DataError, UnknownName
from camelid_core.plugins import load_host
from camelid_core.statistics import Estimate
from camelid_core.testing import write_jsonl
from camelid_serve.evaluations import score_task
from camelid_serve.evaluations.evaluation import Answer, Evaluation, Item, ItemSource, Skipped
from camelid_serve.evaluations.score_config import ScoreConfig
from camelid_serve.evaluations.score_table import notes, shown_rows
from camelid_serve.evaluations.suites.average import average_of, averaged
from camelid_serve.evaluations.suites.belle import judged_score
from camelid_serve.evaluations.suites.builders import evaluation_of
from camelid_serve.evaluations.suites.exams import named_letters
from camelid_serve.evaluations.suites.passages import f1
from camelid_serve.evaluations.suites.suite import Suite, builtin_suites, open_suite
from camelid_serve.evaluations.suites.verdicts import imported_column
from camelid_serve.evaluations.suites.worked_examples import last_number

from .context import Attempt

TULU = open_suite("tulu")
PUBLISHED = (44.5, 47.0, 6.0, 27.0, 38.1, 39.2, 45.7, 7.7, 17.5, 27.8, 48.3)
"""Tulu 7B's eleven scores; its Average is 33.1."""


def cells(values: tuple[float | None, ...] = PUBLISHED) -> dict[str, float | None]:
    return {column.name: value for column, value in zip(TULU.column, values, strict=True)}


def test_the_published_average_is_that_of_six_benchmarks() -> None:
    found = average_of(cells(), TULU.benchmark)
    assert (round(found.mean or 0, 1), round(found.mean or 0, 2)) == (33.1, 33.09)
    assert (found.left_out, found.used) == ((), 6)
    assert round(sum(PUBLISHED) / 11, 2) == 31.71  # the other rule, which is not the published one


def test_what_was_not_measured_is_left_out_and_named() -> None:
    without = cells((*PUBLISHED[:8], None, None, 48.3))
    found = average_of(without, TULU.benchmark)
    assert (found.left_out, found.used) == (("Codex-Eval Pass@1", "Codex-Eval Pass@10"), 5)
    assert found.mean == pytest.approx((45.75 + 16.5 + 38.65 + 26.7 + 48.3) / 5)
    half = average_of(cells((None, *PUBLISHED[1:])), TULU.benchmark)
    assert (half.used, half.left_out) == (6, ("MMLU 0-shot",))
    assert average_of({}, TULU.benchmark).mean is None


def test_an_average_has_an_interval_from_those_of_its_cells() -> None:
    found = averaged(
        {
            name: Estimate(value / 100, value / 100 - 0.06, value / 100 + 0.06, 100, share=True)
            for name, value in cells().items()
        },
        TULU.benchmark,
        Estimate,
    )
    assert found is not None
    assert found.arm == pytest.approx(0.06 / 6**0.5)
    assert str(found) == "33.1 % ± 2.4 (n 1,100)"


def built(suite: str, task: str, root: Path, rows: int = 100) -> tuple[Evaluation, list[Item], list[Skipped]]:
    found = next(each for each in open_suite(suite).task if each.name == task)
    evaluation = evaluation_of(found)
    made = list(evaluation.items(ItemSource(str(root / found.file), rows, load_host())))
    return (
        evaluation,
        [each for each in made if isinstance(each, Item)],
        [each for each in made if isinstance(each, Skipped)],
    )


def right(evaluation: Evaluation, item: Item, *answers: str) -> float:
    first = evaluation.measures[0].name
    return evaluation.score(item, [Answer(text) for text in answers])[first]


def write_mmlu(root: Path) -> None:
    for part, rows in (("dev", 3), ("test", 2)):
        (root / "mmlu" / part).mkdir(parents=True, exist_ok=True)
        for subject in ("abstract_algebra", "virology"):
            lines = [f'"{subject} {part} {n}?",one,two,three,four,{"ABCD"[n]}' for n in range(rows)]
            (root / "mmlu" / part / f"{subject}_{part}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_mmlu_shows_examples_of_the_subject_and_chooses_among_four(tmp_path: Path) -> None:
    write_mmlu(tmp_path)
    evaluation, items, _ = built("tulu", "mmlu-0", tmp_path)
    assert [item.id for item in items] == ["abstract_algebra-0", "virology-0", "abstract_algebra-1", "virology-1"]
    question, answer = items[0].prompts[1]
    assert question.content == (
        "The following are multiple choice questions (with answers) about abstract algebra.\n\n"
        "abstract_algebra test 0?\nA. one\nB. two\nC. three\nD. four\nAnswer:"
    )
    assert answer.content == "The answer is: B"
    scored = evaluation.score(items[0], [Answer(logprob=each) for each in (-1.0, -2.0, -3.0, -4.0)])
    assert scored["right"] == 1
    _, items, _ = built("tulu", "mmlu-5", tmp_path)
    assert "abstract_algebra dev 1?\nA. one\nB. two\nC. three\nD. four\nAnswer: B\n\n" in items[0].prompts[0][0].content
    assert (len(items[0].shorter), items[0].most_tokens) == (3, 2048)
    assert items[0].shorter[-1][0][0].content == question.content
    (tmp_path / "mmlu/test/bad_test.csv").write_text("x,y\n")
    with pytest.raises(DataError, match="2 columns in row 1; 6 are expected"):
        built("tulu", "mmlu-0", tmp_path)


def test_gsm_takes_the_last_number_with_its_sign(tmp_path: Path) -> None:
    (tmp_path / "gsm").mkdir()
    rows = [
        {"question": "How many? ", "answer": "…\n#### 1,072"},
        {"question": "And?", "answer": "#### 0"},
        {"question": "?", "answer": "#### x"},
    ]
    write_jsonl(tmp_path / "gsm/test.jsonl", rows)
    evaluation, items, skipped = built("tulu", "gsm-direct", tmp_path)
    assert (len(items), len(skipped)) == (2, 1)
    question, begun = items[0].prompts[0]
    assert question.content.startswith("Answer the following questions.\n\nQuestion: ")
    assert question.content.endswith("\n\nQuestion: How many?")
    assert question.content.count("Question: ") == 9
    assert "Quesion" not in question.content
    assert begun.content == "Answer:"
    assert right(evaluation, items[0], "The answer is 1072.") == 1
    assert right(evaluation, items[1], " 5 - 5 = 0") == 1
    _, with_rationale, _ = built("tulu", "gsm-cot", tmp_path)
    assert len(with_rationale[0].prompts[0][0].content) > len(question.content) + 200
    examples = [{"question": f"Own {n}?", "rationale": f"because {n}", "answer": str(n)} for n in range(9)]
    write_jsonl(tmp_path / "gsm/examples.jsonl", examples)
    _, items, _ = built("tulu", "gsm-cot", tmp_path)
    assert "Question: Own 7?\nAnswer: because 7\n\nQuestion: How many?" in items[0].prompts[0][0].content


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("-3", "-3"),
        ("it is −4.", "-4"),
        ("0", "0"),
        ("1,234.50 dollars", "1234.5"),
        ("10.", "10"),
        ("none", None),
        ("5 or 7.0", "7"),
    ],
)
def test_numbers_keep_their_sign_and_nought_is_one(text: str, number: str | None) -> None:
    found = last_number(text)
    assert (None if found is None else f"{found:f}") == number


def test_bbh_reads_the_answer_out_of_its_sentence(tmp_path: Path) -> None:
    for folder in ("bbh/bbh", "bbh/cot-prompts"):
        (tmp_path / folder).mkdir(parents=True)
    examples = [{"input": "not ( True ) is", "target": "False"}, {"input": "True is", "target": "True"}]
    (tmp_path / "bbh/bbh/boolean.json").write_text(json.dumps({"canary": "x", "examples": examples}))
    prompt = (
        "a canary\n-----\nEvaluate.\n\nQ: True and False is\nA: Let's think step by step.\nFirst this. Then that. "
        "So the answer is False.\n\nQ: not False is\nA: Let's think step by step.\nIt is. So the answer is True.\n"
    )
    (tmp_path / "bbh/cot-prompts/boolean.txt").write_text(prompt)
    evaluation, items, _ = built("tulu", "bbh-cot", tmp_path)
    question, begun = items[0].prompts[0]
    assert question.content.startswith("Evaluate.\n\nQ: True and False is\nA: Let's think step by step.\nFirst")
    assert question.content.endswith("So the answer is True.\n\nQ: not ( True ) is")
    assert begun.content == "A: Let's think step by step."
    assert right(evaluation, items[0], "It is so. So the answer is False. More.") == 1
    assert right(evaluation, items[0], "False.") == 1
    assert right(evaluation, items[0], "So the answer is True.") == 0
    evaluation, items, _ = built("tulu", "bbh-direct", tmp_path)
    assert items[0].prompts[0][0].content == (
        "Evaluate.\n\nQ: True and False is\nA: False\n\nQ: not False is\nA: True\n\nQ: not ( True ) is"
    )
    assert right(evaluation, items[0], " False\nQ: next") == 1


def squad(name: str, passage: str, *golds: str) -> dict[str, Any]:
    asked = {"id": name, "question": f"Who in {name}?", "answers": [{"text": gold} for gold in golds]}
    return {"paragraphs": [{"context": passage, "qas": [asked, {**asked, "id": f"{name}-again"}]}]}


def test_tydiqa_asks_in_nine_languages_and_questions_on_a_passage_are_a_cluster(tmp_path: Path) -> None:
    (tmp_path / "tydiqa").mkdir()
    dev = [
        squad("english-1", "Ann is here. " * 30, "Ann", "the Ann"),
        squad("finnish-1", "Matti on.", "Matti"),
        squad("thai-1", "x", "y"),
    ]
    for name, data in (("dev", dev), ("train", [squad("english-9", "Bob sat.", "Bob")])):
        (tmp_path / f"tydiqa/{name}.json").write_text(json.dumps({"data": data}))
    evaluation, items, skipped = built("tulu", "tydiqa-passage", tmp_path)
    assert {item.group for item in items} == {"english", "finnish"}
    assert len(skipped) == 2
    asked = [item for item in items if item.group == "english"]
    assert len({item.cluster for item in asked}) == 1
    question, begun = asked[0].prompts[0]
    assert question.content.startswith(
        "Answer the following question based on the information in the given passage.\n\n"
        "Passage: Bob sat.\nQuestion: Who in english-9?\nAnswer: Bob\n\nPassage: Ann is here. "
    )
    assert begun.content == "Answer:"
    assert [len(each[0][0].content) < len(question.content) for each in asked[0].shorter] == [True] * 3
    assert right(evaluation, asked[0], "ann!") == 1
    _, items, _ = built("tulu", "tydiqa-closed", tmp_path)
    assert "Passage" not in items[0].prompts[0][0].content
    assert not items[0].shorter
    assert {language for task in TULU.task for language in task.settings.get("languages", {})} == {
        "arabic", "bengali", "english", "finnish", "indonesian", "korean", "russian", "swahili", "telugu",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "gold", "score"),
    [("the cat", "Cat.", 1), ("a cat sat", "cat", 2 / 3), ("dog", "cat", 0), ("", "cat", 0)],
)
def test_f1_is_squads(answer: str, gold: str, score: float) -> None:
    assert f1(answer, gold) == pytest.approx(score)


def test_mmcu_is_asked_as_alpaca_cot_asks_it(tmp_path: Path) -> None:
    rows = [
        {"类别": "法律", "题目": "下列哪项?", "选项": "A. 一\nB. 二", "答案": "B"},
        {"类别": "教育", "题目": "哪些?", "选项": {"A": "一", "B": "二"}, "答案": "AB"},
        {"类别": "教育", "题目": "?", "选项": "", "答案": ""},
    ]
    (tmp_path / "mmcu.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    evaluation, items, skipped = built("alpaca-cot", "mmcu", tmp_path)
    assert (len(items), len(skipped)) == (2, 1)
    assert items[0].prompts[0][0].content == (
        "请阅读以下选择题并给出正确选项，不要解释原因。\n下列哪项?\nA. 一\nB. 二\n正确答案的序号是：\n"
    )
    assert right(evaluation, items[0], "B. 二") == 1
    assert right(evaluation, items[1], "B、A") == 1
    assert right(evaluation, items[1], "A") == 0
    (tmp_path / "mmcu.json").write_text('[{"题目": "x"}]', encoding="utf-8")
    with pytest.raises(DataError, match="without '类别'"):
        built("alpaca-cot", "mmcu", tmp_path)


@pytest.mark.parametrize(
    ("text", "letters"), [("正确答案的序号是：C", "C"), ("B、D", "BD"), ("选 A和C。", "AC"), ("没有", "")]
)
def test_letters_are_read_out_of_chinese(text: str, letters: str) -> None:
    assert named_letters(text) == letters


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("得分: 0.8，因为", 0.8),
        ("**得分：1**", 1.0),
        ("得分:0", 0.0),
        ("得分: 8", None),
        ("很好", None),
        ("得分: 1.5", None),
    ],
)
def test_a_judges_score_is_from_nought_to_one(reply: str, score: float | None) -> None:
    assert judged_score(reply) == score


def test_verdicts_of_other_programs_are_read_in_three_forms(tmp_path: Path) -> None:
    folder = tmp_path / "verdicts" / "tiny"
    folder.mkdir(parents=True)
    tries = [{"task_id": f"HumanEval/{n}", "passed": n == 1 and k < 2} for n in (1, 2) for k in range(20)]
    write_jsonl(folder / "codex-temperature-0.1.jsonl", tries)
    write_jsonl(folder / "codex-temperature-0.8.jsonl", tries)
    preferences = [{"instruction": str(n), "preference": value} for n, value in enumerate((1, 2, 1.5, None))]
    (folder / "alpaca-farm.json").write_text(json.dumps(preferences))
    judged = [
        {"C": "math", "Q": "?", "A": "", "P": "x", "S": "得分: 0.5"},
        {"C": "code", "Q": "?", "A": "", "P": "x", "X": 1},
    ]
    (folder / "belle.json").write_text(json.dumps(judged, ensure_ascii=False))
    tasks = {task.name: task for suite in builtin_suites() for task in open_suite(suite).task}

    def means(name: str) -> tuple[list[float], int]:
        column = imported_column(tasks[name], tmp_path, ["tiny", "other"])
        assert "other" in column.note
        return [row["scores"]["score"] for row in column.rows["tiny"]], sum(column.skipped.values())

    assert means("codex-1") == ([pytest.approx(0.1), 0], 0)
    assert means("codex-10")[0][0] == pytest.approx(1 - (18 * 17 / 2 * 0 + 1) * 9 / 38)
    assert means("alpaca-farm") == ([0, 1, 0.5], 1)
    assert means("belle-judged") == ([0.5, 1], 0)
    (folder / "belle.json").write_text('[{"x": 1}]')
    with pytest.raises(DataError, match="none of the known forms"):
        means("belle-judged")


def test_a_suite_is_scored_from_the_files_that_are_there(base: Path, tmp_path: Path) -> None:
    """Two of six benchmarks have files; the others' cells are empty, and the average says what it is of."""
    files = tmp_path / "files"
    write_mmlu(files)
    (files / "verdicts/tiny").mkdir(parents=True)
    wins = [{"id": str(n), "win": float(n % 2)} for n in range(10)]
    write_jsonl(files / "verdicts/tiny/alpaca-farm.json", wins)
    attempt = Attempt(tmp_path / "job")
    config = ScoreConfig(models=[str(base)], suite="tulu", files=str(files), rows=4, dtype="float32", batch_size=4)
    score_task.run(config, attempt)
    results = json.loads((attempt.output / score_task.RESULTS).read_text(encoding="utf-8"))
    assert [column["name"] for column in results["columns"]] == [*(each.name for each in TULU.column), "Average"]
    row = shown_rows(results)[0]
    assert [name for name, cell in row.items() if cell == "-"] == [each.name for each in TULU.column[2:10]]
    mmlu = [results["columns"][at]["measures"][0]["estimates"]["tiny"]["mean"] for at in (0, 1)]
    average = results["columns"][-1]["measures"][0]["estimates"]["tiny"]
    assert average["mean"] == pytest.approx((sum(mmlu) / 2 + 0.5) / 2)
    assert average["low"] < average["mean"] < average["high"]
    said = " ".join(notes(results))
    assert "without GSM Direct, GSM CoT" in said
    assert "there is no 'gsm/test.jsonl'" in said


def test_alpaca_cots_files_come_out_as_its_scripts_write_them(base: Path, adapter: Path, tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    belle = [{"class": kind, "question": f"{kind}?", "std_answer": "x"} for kind in ("math", "code")]
    (files / "belle.json").write_text(json.dumps(belle))
    mmcu = [{"类别": "法律", "题目": "?", "选项": "A. 一\nB. 二", "答案": "B"}]
    (files / "mmcu.json").write_text(json.dumps(mmcu, ensure_ascii=False), encoding="utf-8")
    attempt = Attempt(tmp_path / "job")
    models = [str(base), str(adapter)]
    config = ScoreConfig(models=models, suite="alpaca-cot", files=str(files), dtype="float32", max_new_tokens=4)
    score_task.run(config, attempt)
    names = sorted(path.name for path in (attempt.output / "answers").iterdir())
    assert names == [
        "tiny_adapter_belle_p.json", "tiny_adapter_mmcu_p.json", "tiny_none_belle_p.json", "tiny_none_mmcu_p.json"
    ]  # fmt: skip
    rows = json.loads((attempt.output / "answers/tiny_none_belle_p.json").read_text(encoding="utf-8"))
    assert [list(row) for row in rows] == [["C", "Q", "A", "P"]] * 2
    text = (attempt.output / "answers/tiny_none_mmcu_p.json").read_text(encoding="utf-8")
    assert list(json.loads(text)[0]) == ["C", "Q", "O", "A", "P"]
    assert text.startswith('[\n    {\n        "C": "法律"')
    results = json.loads((attempt.output / score_task.RESULTS).read_text(encoding="utf-8"))
    by_name = {column["name"]: column for column in results["columns"]}
    assert by_name["MMCU Law"]["measures"][0]["estimates"]["tiny"]["n"] == 1
    assert "no item is of medicine" in by_name["MMCU Medicine"]["note"]
    assert verify_directory(attempt.output).manifest.kind == "evaluation"


def test_a_suite_of_ones_own_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = 'name = "mine"\nhelp = "Mine."\ncolumn = [{ name = "Law", task = "exam" }]\n'
    path.write_text(
        text + '[[task]]\nname = "exam"\nbuilder = "mmcu"\nfile = "exam.json"\n[task.settings]\nprompt = "{题目}"\n'
    )
    assert open_suite(str(path)).column[0].name == "Law"
    path.write_text(
        text.replace('task = "exam"', 'task = "exams"') + '[[task]]\nname = "exam"\nbuilder = "x"\nfile = "y"\n'
    )
    with pytest.raises(ConfigError, match="'exams'"):
        open_suite(str(path))
    with pytest.raises(UnknownName, match="alpaca-cot"):
        open_suite("alpaca-cott")
    with pytest.raises(UnknownName, match="mmlu"):
        evaluation_of(TULU.task[0].model_copy(update={"builder": "mmlu2"}))


def test_every_column_of_a_suite_is_of_a_task_that_can_be_built() -> None:
    for name in builtin_suites():
        suite: Suite = open_suite(name)
        for task in suite.task:
            assert task.builder == "verdicts" or evaluation_of(task).measures
            assert task.help
