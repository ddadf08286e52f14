"""Tasks of lm-evaluation-harness: Camelid's engine beside the harness's own Hugging Face model, item by item.

    python benchmarks/bench_lm_eval.py --model DIR --data choices.jsonl [--questions words.jsonl] [--rows 100]
        [--shots 0] [--rounds 1] [--batch-size 8]

`choices.jsonl` has `question`, `choices` and `answer` (an index); `words.jsonl` has `question` and `answer` (a text).
Both run the same task files in this environment, in fresh processes that take turns; loading is not counted. Prints
JSON: seconds, CPU seconds, how many items have equal results, and the largest difference of a log-likelihood.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import rivals

CHOICES = {
    "task": "choices",
    "output_type": "multiple_choice",
    "test_split": "test",
    "fewshot_split": "test",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "answer",
    "metric_list": [{"metric": each, "aggregation": "mean", "higher_is_better": True} for each in ("acc", "acc_norm")],
}
WORDS = {
    "task": "words",
    "output_type": "generate_until",
    "test_split": "test",
    "fewshot_split": "test",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_target": "{{answer}}",
    "generation_kwargs": {"until": ["\nQuestion:"], "max_gen_toks": 64, "do_sample": False},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="JSON Lines with question, choices and answer")
    parser.add_argument("--questions", type=Path, help="JSON Lines with question and answer")
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--shots", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=8, help="of both")
    rivals.run(parser, {"camelid": camelid, "harness": harness}, compare)


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for task, data in ((CHOICES, arguments.data), (WORDS, arguments.questions)):
        if data is not None:
            found[str(task["task"])] = _compared(task, data, arguments)
    return {"machine": rivals.machine(), "versions": rivals.versions("lm_eval", "torch", "transformers"), **found}


def _compared(task: dict[str, Any], data: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    asked = {
        "model": str(arguments.model.resolve()), "rows": arguments.rows, "batch_size": arguments.batch_size,
        "config": {
            **task, "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data.resolve())}},
            "num_fewshot": arguments.shots,
        },
    }  # fmt: skip
    runs: dict[str, list[dict[str, Any]]] = {"camelid": [], "harness": []}
    for _ in range(arguments.rounds):
        for who, results in runs.items():
            with tempfile.TemporaryDirectory() as scratch:
                results.append(rivals.call(sys.executable, __file__, who, asked, Path(scratch)))
    ours, theirs = runs["camelid"][0]["items"], runs["harness"][0]["items"]
    pairs = [(ours[key], theirs[key]) for key in theirs]
    return {
        "seconds": {who: [round(run["seconds"], 2) for run in each] for who, each in runs.items()},
        "cpu_seconds": {who: [round(run["cpu"], 2) for run in each] for who, each in runs.items()},
        "ratio": round(statistics.median(_ratios(runs, "seconds")), 3),
        "cpu_ratio": round(statistics.median(_ratios(runs, "cpu")), 3),
        "items": len(theirs),
        "equal": sum(one["scores"] == other["scores"] for one, other in pairs),
        "equal_texts": sum(one["texts"] == other["texts"] for one, other in pairs),
        "largest_difference": max(
            (abs(a - b) for one, other in pairs for a, b in zip(one["logprobs"], other["logprobs"], strict=True)),
            default=0.0,
        ),
    }


def _ratios(runs: dict[str, list[dict[str, Any]]], what: str) -> list[float]:
    return [ours[what] / theirs[what] for ours, theirs in zip(runs["camelid"], runs["harness"], strict=True)]


def camelid(task: dict[str, Any]) -> dict[str, Any]:
    from camelid_core.plugins import load_host
    from camelid_lm_eval.language_model import HarnessModel
    from camelid_serve.config import EngineConfig
    from camelid_serve.loaded_models import load_model

    slots = task["batch_size"]
    return _evaluated(
        HarnessModel(load_model(task["model"], load_host(), EngineConfig(dtype="float32", slots=slots))), task
    )


def harness(task: dict[str, Any]) -> dict[str, Any]:
    from lm_eval.models.huggingface import HFLM

    size = task["batch_size"]
    return _evaluated(HFLM(pretrained=task["model"], dtype="float32", device="cpu", batch_size=size), task)


def _evaluated(model: Any, task: dict[str, Any]) -> dict[str, Any]:
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.evaluator import evaluate

    name = task["config"]["task"]
    built = ConfigurableTask(config=task["config"])
    built.set_fewshot_seed(1234)
    seconds, cpu = time.perf_counter(), time.process_time()
    results = evaluate(model, {name: built}, limit=task["rows"], bootstrap_iters=0, log_samples=True)
    seconds, cpu = time.perf_counter() - seconds, time.process_time() - cpu
    return {
        "seconds": seconds,
        "cpu": cpu,
        "items": {str(each["doc_id"]): _item(each) for each in results["samples"][name]},
    }


def _item(sample: dict[str, Any]) -> dict[str, Any]:
    responses = [response[0] for response in sample["resps"]]
    texts = [each for each in responses if isinstance(each, str)]
    return {
        "scores": {name: float(sample[name]) for name in sample["metrics"]},
        "texts": texts,
        "logprobs": [float(each[0]) for each in responses if not isinstance(each, str)],
    }


if __name__ == "__main__":
    main()
