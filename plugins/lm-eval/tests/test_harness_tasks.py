"""Tasks of the harness give, item by item, what its Hugging Face model gives; and nothing in a task file is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from camelid_core.errors import CamelidError, DataError, UnknownName, UsageError
from camelid_core.plugins import load_host
from camelid_core.testing import isolated_home, tiny_model, write_jsonl
from camelid_serve.config import EngineConfig
from camelid_serve.engine import Sampling
from camelid_serve.evaluations.evaluation import Evaluation, Item, ItemSource
from camelid_serve.evaluations.evaluation_source import from_source
from camelid_serve.evaluations.item_answers import item_answers
from camelid_serve.loaded_models import LoadedModel, load_model

DIGITS = {"function": "regex", "regex_pattern": "([0-9]+)"}
MEAN = {"aggregation": "mean", "higher_is_better": True}
ROWS = [
    {"question": f"What is {a} plus {b}?", "choices": [str(a + b), str(a), f"{a} and {b}"], "answer": (a + b) % 3}
    for a in range(5)
    for b in (3, 40)
]
TASKS: dict[str, dict[str, Any]] = {
    "chosen": {
        "output_type": "multiple_choice",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "answer",
        "fewshot_split": "test",
        "metric_list": [
            {"metric": each, "aggregation": "mean", "higher_is_better": True} for each in ("acc", "acc_norm")
        ],
    },
    "likely": {
        "output_type": "loglikelihood",
        "doc_to_target": " {{choices[0]}}",
        "metric_list": [
            {"metric": "acc", **MEAN},
            {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
        ],
    },
    "rolling": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{(question ~ ' ') * 40}}",
        "metric_list": [{"metric": "word_perplexity", "aggregation": "weighted_perplexity", "higher_is_better": False}],
    },
    "written": {
        "output_type": "generate_until",
        "doc_to_target": "{{choices[0]}}",
        "generation_kwargs": {"until": ["\n", "e"], "max_gen_toks": 12, "do_sample": False},
        "metric_list": [{"metric": "exact_match", **MEAN}],
        "filter_list": [
            {
                "name": "digits",
                "filter": [{"function": "regex", "regex_pattern": "([0-9]+)"}, {"function": "take_first"}],
            }
        ],
    },
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def tiny(base: Path) -> Any:
    loaded = load_model(str(base), load_host(), EngineConfig(slots=4, dtype="float32"))
    yield loaded
    loaded.close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return isolated_home(tmp_path, monkeypatch)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "rows.jsonl", ROWS)


def task_file(directory: Path, name: str, **changes: Any) -> Path:
    config = {
        "task": name,
        "dataset_path": "no/thing",
        "test_split": "test",
        "doc_to_text": "Q: {{question}}\nA:",
    }
    path = directory / f"{name}.yaml"
    path.write_text(json.dumps({**config, **TASKS.get(name, {}), **changes}), encoding="utf-8")
    return path


def found(reference: object, data: object = "", source: str = "lm-eval") -> Evaluation:
    evaluation = from_source(f"{source}:{reference}", str(data), load_host())
    assert evaluation is not None
    return evaluation


def scored(evaluation: Evaluation, loaded: LoadedModel, rows: int = 100) -> dict[str, Any]:
    """The scores and answers by item."""
    items = list(evaluation.items(ItemSource("", rows, load_host())))
    assert all(isinstance(each, Item) for each in items)
    sampling = Sampling.model_validate(dict(evaluation.sampling))
    answers = {
        number: outcome for number, outcome, _ in item_answers(loaded, evaluation, list(enumerate(items)), sampling, 4)
    }
    for outcome in answers.values():
        assert not isinstance(outcome, CamelidError), outcome
    return {item.id: (evaluation.score(item, answers[n]), answers[n]) for n, item in enumerate(items)}


def harness_scores(config: dict[str, Any], base: Path) -> dict[str, dict[str, Any]]:
    """What lm-eval's own Hugging Face model gives, by item and filter."""
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=str(base), dtype="float32", device="cpu", batch_size=4)
    task = ConfigurableTask(config=config)
    task.set_fewshot_seed(1234)  # as its command line does
    results = evaluate(model, {config["task"]: task}, bootstrap_iters=0, log_samples=True)
    return {f"{each['doc_id']}/{each['filter']}": each for each in results["samples"][config["task"]]}


@pytest.mark.parametrize(("name", "shots"), [*((name, 0) for name in TASKS), ("chosen", 2)])
def test_items_are_scored_as_the_harness_scores_them(
    name: str, shots: int, base: Path, tiny: LoadedModel, rows: Path, tmp_path: Path
) -> None:
    evaluation = found(f"{task_file(tmp_path, name)}{f'@{shots}' if shots else ''}", rows)
    ours = scored(evaluation, tiny)
    config = json.loads(task_file(tmp_path, name).read_text(encoding="utf-8"))
    data = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(rows)}}, "num_fewshot": shots}
    theirs = harness_scores(config | data, base)
    assert len(ours) == len(ROWS)
    for item, (scores, answers) in ours.items():
        sample = next(each for key, each in theirs.items() if key.startswith(f"{item}/"))
        for metric, value in scores.items():
            if metric != "log-likelihood":
                assert value == pytest.approx(float(sample[metric.partition(" (")[0]]), abs=1e-4)
        for answer, (response, *_) in zip(answers, sample["resps"], strict=True):
            if name == "written":
                assert answer.text.rstrip("\ufffd") == response.rstrip("\ufffd")  # a character not finished
            else:
                total, greedy = response if isinstance(response, tuple) else (response, answer.greedy)
                assert (answer.logprob, answer.greedy) == (
                    pytest.approx(float(total), rel=1e-4, abs=1e-3),
                    bool(greedy),
                )


def test_measures_without_a_mean_are_named(rows: Path, tmp_path: Path) -> None:
    assert "perplexity" in found(task_file(tmp_path, "likely"), rows).help
    only = {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False}
    with pytest.raises(UsageError, match="no measure that is a mean"):
        found(task_file(tmp_path, "likely", metric_list=[only]), rows)


def test_a_chat_is_asked_in_the_models_template(tiny: LoadedModel, rows: Path, tmp_path: Path) -> None:
    evaluation = found(f"{task_file(tmp_path, 'chosen')}@1", rows, "lm-eval-chat")
    first = next(iter(evaluation.items(ItemSource("", 2, load_host()))))
    assert isinstance(first, Item)
    assert [message.role for message in first.prompts[0]] == ["user", "assistant", "user"]
    plain = scored(found(f"{task_file(tmp_path, 'chosen')}@1", rows), tiny, 2)
    assert {item: answers for item, (_, answers) in scored(evaluation, tiny, 2).items()} != {
        item: answers for item, (_, answers) in plain.items()
    }


def test_what_is_too_long_is_an_error_of_that_item(tiny: LoadedModel, tmp_path: Path) -> None:
    long = write_jsonl(tmp_path / "long.jsonl", [ROWS[0], {**ROWS[1], "question": "why " * 5000}])
    evaluation = found(task_file(tmp_path, "chosen"), long)
    items = list(enumerate(evaluation.items(ItemSource("", 9, load_host()))))
    outcomes = {number: outcome for number, outcome, _ in item_answers(tiny, evaluation, items, Sampling(), 4)}  # type: ignore[arg-type]
    assert isinstance(outcomes[0], tuple)
    assert "maximum context length" in str(outcomes[1])


def test_nothing_in_a_task_file_is_run(rows: Path, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    (tmp_path / "evil.py").write_text(f"open({str(flag)!r}, 'w')\ndef run(*a): return a\n", encoding="utf-8")
    path = tmp_path / "evil.yaml"
    path.write_text(
        "task: evil\ndataset_path: json\ntest_split: test\ndoc_to_text: !function evil.run\n", encoding="utf-8"
    )
    with pytest.raises(UsageError, match="holds code"):
        found(path, rows)
    escape = f"{{{{ ''.__class__.__mro__[1].__subclasses__() or self.__init__.__globals__.open({str(flag)!r}, 'w') }}}}"
    with pytest.raises(DataError, match="cannot be built"):
        found(task_file(tmp_path, "chosen", doc_to_text=escape), rows)
    assert not flag.exists()


def test_wrong_tasks_are_refused_with_what_to_do(rows: Path, tmp_path: Path) -> None:
    chosen = task_file(tmp_path, "chosen")
    with pytest.raises(DataError, match=r"no/thing.*test\.jsonl.*=DIRECTORY"):
        found(chosen)
    with pytest.raises(DataError, match="nothing is downloaded"):
        found(task_file(tmp_path, "chosen", dataset_path="json", dataset_kwargs={"data_files": "https://a.b/c.json"}))
    with pytest.raises(UsageError, match="number of examples"):
        found(f"{chosen}@five", rows)
    (tmp_path / "alias.yaml").write_text("task: &t x\ndataset_path: *t\n", encoding="utf-8")
    with pytest.raises(DataError, match="aliases"):
        found(tmp_path / "alias.yaml", rows)
    with pytest.raises(UsageError, match="includes another file"):
        found(task_file(tmp_path, "chosen", include="other.yaml"), rows)
    with pytest.raises(DataError, match="split 'test'"):
        found(task_file(tmp_path, "chosen"), tmp_path)
    with pytest.raises(DataError, match="column"):
        found(task_file(tmp_path, "chosen", doc_to_text="{{nothing_like_that}}"), rows)
    with pytest.raises(UnknownName, match="lm-eval task"):
        found("no_such_task_at_all", rows)
