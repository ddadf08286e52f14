"""End to end with a real model: pull, generate data, fine-tune, evaluate, merge, chat, batch prediction.

Every long step is a job that a worker runs in a process of its own; a second run takes up what the
first one left. Ends with a table and `demo/report.json` in Camelid's home.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from camelid_core.commands.run_job import run_job
from camelid_core.config import Config, load
from camelid_core.datasets.sources import open_dataset
from camelid_core.errors import CamelidError
from camelid_core.file_permissions import make_private_directory
from camelid_core.integrity import write_durably
from camelid_core.jobs.foreground import open_store
from camelid_core.jobs.job import Job, JobState
from camelid_core.models.pull import pull
from camelid_core.paths import home
from camelid_core.plugins import load_host
from camelid_core.statistics import number_text
from camelid_core.subprocesses import module_command
from camelid_core.writers import write_alpaca
from camelid_serve.config import EvaluateConfig, PredictConfig
from camelid_serve.engine import Sampling
from camelid_train.config import Recipe
from camelid_train.export.merge_config import MergeConfig

RECIPE = Path(__file__).with_name("recipe.toml")
QUESTION = "Tom has 5 bags of 6 apples and eats 4. How many apples are left?"
GREEDY = Sampling(temperature=0.0, max_new_tokens=80)


def main() -> None:
    started = time.monotonic()
    recipe = load(Recipe, RECIPE)
    host, folder = load_host(), make_private_directory(home() / "demo")

    say("1/6  Model")
    pull(recipe.model.name, host, print)

    say("2/6  Data: cot-arithmetic, generated from a seed")
    dataset = open_dataset(recipe.data.sources[0], host.datasets)
    questions = folder / "questions.jsonl"
    write_alpaca(dataset.load("heldout", 16), questions)
    print(f"{dataset.rows:,} training rows, {dataset.heldout_rows} held out; 16 questions in {questions}")

    say(f"3/6  Training a LoRA adapter on {recipe.data.rows} rows")
    trained = stage("train", recipe, "demo-adapter")
    adapter = str(trained.published)

    say("4/6  Exact answers on held-out problems, base and tuned")
    scored = stage(
        "evaluate", EvaluateConfig(model=adapter, rows=40, base=True, batch_size=40, sampling=GREEDY), "demo-scores"
    )

    say("5/6  Merging, and asking the merged model")
    merged = str(stage("merge", MergeConfig(adapter=adapter), "demo-merged").published)
    print(f"\n> {QUESTION}\n{ask(merged)}")

    say("6/6  Predicting a file")
    predict = PredictConfig(model=adapter, input=str(questions), sampling=GREEDY)
    predicted = stage("predict", predict, "demo-predictions")

    report = {
        "base_loss": trained.summary["base_eval_loss"],
        "tuned_loss": trained.summary["eval_loss"],
        "base_loss_estimate": trained.summary["base_eval_loss_estimate"],
        "tuned_loss_estimate": trained.summary["eval_loss_estimate"],
        "base_accuracy": scored.summary["base_accuracy"],
        "tuned_accuracy": scored.summary["accuracy"],
        "accuracy_difference": scored.summary["difference"],
        "trained_tokens": trained.summary["trained_tokens"],
        "train_seconds": trained.summary["seconds"],
        "tokens_per_second": trained.summary["tokens_per_second"],
        "merged": merged,
        "predictions": str(Path(str(predicted.published)) / "predictions.jsonl"),
        "adapter": adapter,
    }
    write_durably(folder / "report.json", json.dumps(report, indent=2).encode())
    say(f"Done in {time.monotonic() - started:.0f} s")
    table(report)
    print(f"\nThe report is in {folder / 'report.json'}")


def stage(task: str, config: Config, name: str) -> Job:
    """The finished job of that name and configuration: an earlier run's if it is still there, else a new one."""
    wanted = config.model_dump(mode="json")
    for job in open_store().list():
        same = (job.task, job.name, job.config) == (task, name, wanted)
        if same and job.state is JobState.SUCCEEDED and job.published and Path(job.published).is_dir():
            print(f"Already there: {job.published}")
            return job
    return run_job(task, config, name)


def ask(model: str) -> str:
    command = module_command("camelid_core.cli", "chat", model, "--ask", QUESTION)
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def say(text: str) -> None:
    print(f"\n── {text} " + "─" * max(0, 70 - len(text)), flush=True)


def table(report: dict[str, Any]) -> None:
    rows = [
        ("", "base", "tuned"),
        ("held-out loss", *(number_text(report[f"{side}_loss_estimate"]) for side in ("base", "tuned"))),
        ("exact answers", *(number_text(report[f"{side}_accuracy"]) for side in ("base", "tuned"))),
    ]
    for name, base, tuned in rows:
        print(f"{name:16}{base:>44}{tuned:>44}")
    print(f"{'difference':16}{number_text(report['accuracy_difference'])}")
    print(
        f"\n{report['trained_tokens']:,} trained tokens in {report['train_seconds']:.0f} s "
        f"({report['tokens_per_second']:.0f} tokens/s)"
    )
    for key in ("adapter", "merged", "predictions"):
        print(f"{key:12} {report[key]}")


if __name__ == "__main__":
    try:
        main()
    except CamelidError as error:
        sys.exit(f"camelid: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
