"""`camelid train` and `camelid merge` as a person runs them: in a process of their own, from a recipe file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from camelid_core.artefacts import verify_directory
from camelid_core.errors import ConfigError, MissingPackage, UnknownName, UsageError
from camelid_core.jobs.foreground import open_store
from camelid_core.jobs.job import JobState
from camelid_core.notifications.outbox import listeners
from camelid_train.commands.merge import merge
from camelid_train.commands.train import read_recipe, train
from camelid_train.config import Recipe
from camelid_train.monitoring import trackers

RECIPE = """
[model]
name = "{model}"
dtype = "float32"
[data]
sources = ["{data}"]
template = "chatml"
eval_rows = 4
[train]
batch_size = 8
max_steps = 3
learning_rate = 2e-2
output = "./my-adapter"
"""


def camelid(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "camelid_core.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture
def written(home, base, sums):
    path = Path("recipe.toml")
    path.write_text(RECIPE.format(model=base(), data=sums))
    return path


@pytest.mark.slow
def test_from_a_recipe_to_an_adapter_to_a_model(written):
    done = camelid("train", written, "train.max_steps=4", "--json")
    summary = json.loads(done.stdout.splitlines()[-1])
    tokens = {"trained_tokens", "total_tokens", "tokens_per_second"}
    assert {"artefact", "seconds", "final_loss", "eval_loss", "steps", *tokens} <= set(summary)
    assert summary["steps"] == 4
    assert summary["artefact"] == str(Path("my-adapter").absolute())
    manifest = verify_directory(Path("my-adapter")).manifest
    assert manifest.metrics["trained_tokens"] == summary["trained_tokens"]
    assert "4/4 steps" in done.stderr
    assert "Warning" not in done.stderr

    Path("my-adapter").rename("my adapter")
    options = ("--out", "./merged", "--weights", "plain", "--shard", "100KB", "--json")
    merged = json.loads(camelid("merge", "./my adapter", *options).stdout.splitlines()[-1])
    assert len(list(Path("merged").glob("model-*.safetensors"))) > 1
    assert merged["artefact"] == str(Path("merged").absolute())
    assert verify_directory(Path("merged")).manifest.kind == "model"
    assert [job.state for job in open_store().list()] == [JobState.SUCCEEDED] * 2


@pytest.mark.parametrize(
    ("override", "code", "sentence"),
    [
        ("train.lerning_rate=1", 2, "train.lerning_rate: unknown key. Did you mean 'learning_rate'?"),
        ("train.max_steps", 2, "is no override; write section.field=value"),
        ("train.output=.", 1, "exists already and is not empty"),
    ],
)
def test_what_does_not_fit_is_a_sentence(written, override, code, sentence):
    done = camelid("train", written, override, code=code)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("detach", [False, True])
def test_a_tracker_that_is_not_here_is_refused_before_there_is_a_job(written, monkeypatch, detach):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"type `pip install 'camelid-train\[wandb\]'`"):
        train(str(written), ['train.report_to=["wandb"]'], detach=detach)
    assert list(open_store().list()) == []


def test_a_queued_run_waits_for_a_worker_with_every_path_made_absolute(written):
    done = camelid("train", written, "--detach", "--name", "later", "--notify", "https://hooks.example/key")
    job = open_store().get(1)
    assert [each.url for each in listeners(open_store(), job.id)] == ["https://hooks.example/key"]
    assert f"Job {job.id} is queued. `camelid jobs logs {job.id} --follow` shows it" in done.stdout
    assert (job.task, job.name, job.state) == ("train", "later", JobState.QUEUED)
    assert job.config == read_recipe(str(written), []).with_absolute_paths().model_dump(mode="json")
    assert job.config["train"]["output"] == str(Path("my-adapter").absolute())
    assert not Path("my-adapter").exists()


@pytest.mark.parametrize(
    ("notify", "sentence"),
    [("http://hooks.example/", "only https"), ("desktop", "needs this command to stay"), ("ftp://x", "is not opened")],
)
def test_who_cannot_be_told_is_refused_before_there_is_a_job(written, notify, sentence):
    with pytest.raises(UsageError, match=sentence):
        train(str(written), [], detach=True, notify=[notify])
    assert list(open_store().list()) == []


def test_a_name_that_nobody_knows_leaves_no_job(written):
    for override in ("model.name=nono", 'data.sources=["nono"]'):
        with pytest.raises(UnknownName, match="'nono' is not known"):
            train(str(written), [override])
    with pytest.raises(UnknownName, match="'nono' is not known"):
        merge(["nono"])
    assert list(open_store().list()) == []


def test_a_recipe_is_a_file_or_overrides(written):
    assert read_recipe("train.max_steps=5", ["method.r=2"]) == Recipe().with_overrides(
        ["train.max_steps=5", "method.r=2"]
    )
    assert read_recipe(str(written), ["train.max_steps=5"]).train.max_steps == 5
    with pytest.raises(ConfigError, match=r"gone\.toml' cannot be read"):
        read_recipe("gone.toml", [])
    with pytest.raises(UsageError, match=r"'gone' is neither a recipe \(\.toml"):
        read_recipe("gone", [])
    with pytest.raises(UsageError, match=r"say what to train: `camelid train recipe\.toml`"):
        read_recipe("", [])


def test_help_lists_every_field_with_default_range_and_other_tools_names():
    text = " ".join(camelid("train", "--help").stdout.split())
    for section in Recipe.model_fields:
        for field in type(getattr(Recipe(), section)).model_fields:
            assert f" {section}.{field}" in text
    assert "train.accumulation=1 Gradient accumulation steps:" in text
    assert "Also: `gradient_accumulation_steps`. [1–4096]" in text


@pytest.mark.slow
def test_a_sweep_runs_every_combination_and_goes_on_where_it_was_stopped(written):
    """Two runs, of which the second cannot put its result where it belongs; mended, only that one is run again."""
    Path("my-adapter-r-4").write_text("occupied")
    command = ("train", written, "--sweep", "method.r=2,4", "--name", "ranks", "--json")
    failed = camelid(*command, code=1)
    assert "exists already" in failed.stderr
    assert [row["state"] for row in json.loads(failed.stdout)] == ["succeeded", "failed"]
    Path("my-adapter-r-4").unlink()
    rows = json.loads(camelid(*command).stdout)
    assert {row["method.r"]: row["job"] for row in rows} == {"2": "1", "4": "2"}
    assert rows == sorted(rows, key=lambda row: row["eval_loss"])
    assert {row["heldout_rows"] for row in rows} == {4}
    assert rows[1]["difference"]["n"] == rows[0]["eval_loss_estimate"]["n"]
    assert rows[1]["difference"]["mean"] == pytest.approx(
        rows[1]["eval_loss"] - rows[0]["eval_loss"], abs=1e-4
    )  # those are rounded
    for rank in (2, 4):
        config = json.loads(Path(f"my-adapter-r-{rank}/adapter_config.json").read_text())
        assert config["r"] == rank
