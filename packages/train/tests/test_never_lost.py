"""However a run is interrupted, what comes out is what comes out undisturbed; and why it ended is said."""

from __future__ import annotations

import json
import random
import shutil

import pytest
import torch
from camelid_core.errors import ConfigError, DataError, ModelError, NanLoss, TrainingError
from camelid_core.integrity import sha256
from camelid_core.jobs.resume_point import resume_hint
from camelid_core.tasks import Interrupted
from camelid_core.testing import write_jsonl
from camelid_train import run as run_module
from camelid_train.launching import train as launch
from camelid_train.objectives.sft import Sft
from camelid_train.run import train
from safetensors.torch import load_file, save_file

ADAPTER = "adapter_model.safetensors"
_TIMING = ("seconds", "tokens_per_second", "mfu")


class Killed(BaseException):
    """Nothing is saved and nothing tidied up, as with a signal 9."""


def counted(metrics):
    return {name: value for name, value in metrics.items() if name not in _TIMING}


def kill_at(run, step):
    """End `run` in the middle of a step, at the place where it tells of the one before."""
    emit = run.emit

    def emit_and_die(kind, **values):
        emit(kind, **values)
        if kind == "progress" and values.get("unit") == "steps" and values["done"] == step:
            raise Killed

    run.emit = emit_and_die


def measured_as(monkeypatch, losses, before=lambda run: None):
    """The held-out loss, as if it were the next of `losses`; the rows are gone through all the same."""
    left, heldout_loss = list(losses), Sft.heldout_loss

    def measured(self, section, run, trainer):
        before(run)
        heldout_loss(self, section, run, trainer)
        return left.pop(0)

    monkeypatch.setattr(Sft, "heldout_loss", measured)


@pytest.fixture
def mixture(tmp_path, sums):
    """Two sources with weights."""
    other = write_jsonl(tmp_path / "more.jsonl", [{"instruction": f"Say {n}", "output": f"{n}!"} for n in range(12)])
    return f"data.sources={json.dumps([f'{sums}:1', f'{other}:0.5'])}"


HARD = (
    "method.dropout=0.1", "train.accumulation=2", "train.schedule=cosine", "eval.steps=3", "eval.samples=1",
    "eval.sample_tokens=2", "train.log_steps=4", "train.save_steps=4", "train.best=true", "train.keep=1",
)  # fmt: skip


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_kills_and_requests_to_leave_change_nothing(attempt, recipe, mixture, seed):
    """Several epochs, accumulation over their ends, dropout, a mixture, measurements and samples in between."""
    chance = random.Random(seed)
    config = recipe("train.max_steps=11", mixture, *HARD)
    whole = attempt(job=1)
    undisturbed = train(config, whole)
    steps = sorted(chance.sample(range(1, 12), 3))
    for epoch, step in enumerate(steps, 1):
        run = attempt(epoch, job=2)
        if epoch == 1 + seed % 3:
            kill_at(run, step)
        else:
            run.stop_at = (step, "save")
        with pytest.raises((Interrupted, Killed)):
            train(config, run)
        assert not run.output.exists()
    last = attempt(4, job=2)
    resumed = train(config, last)
    assert sha256(last.output / ADAPTER) == sha256(whole.output / ADAPTER)
    assert counted(resumed) == counted(undisturbed)
    runs = [attempt_.directory for attempt_ in (last,)]
    assert sum(len(list((each / "checkpoints").glob("step-*"))) for each in runs) <= 2
    told = {event["step"]: event["loss"] for event in whole.events("train")}
    assert all(told[event["step"]] == event["loss"] for event in last.events("train"))


def test_a_run_that_was_over_when_its_publishing_was_killed_is_not_trained_again(attempt, recipe, monkeypatch):
    config = recipe("train.max_steps=20", "eval.steps=2", "eval.patience=2", "train.best=true", "train.keep=1")
    measured_as(monkeypatch, [5.0, 4.0, 3.0, 3.5, 3.25])
    first = attempt(1)
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "write_manifest", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            train(config, first)
    assert not first.output.exists(), "half a result takes room"
    assert [(event["step"], event.get("best")) for event in first.events("eval")] == [
        (0, None), (2, True), (4, True), (6, False), (8, False),
    ]  # fmt: skip
    (stop,) = first.events("stop")
    assert stop["reason"] == "early"
    assert "has not fallen for 2 measurements: it was lowest at step 4 (3)" in stop["text"]
    assert [event["step"] for event in first.events("checkpoint")] == [2, 4, 8]
    assert all(event["bytes"] > 1000 for event in first.events("checkpoint"))
    names = sorted(path.name for path in (first.directory / "checkpoints").iterdir())
    assert names == ["step-00000004", "step-00000008"], "the newest, and the best whatever train.keep says"

    second = attempt(2)
    metrics = train(config, second)
    assert not second.events("progress") or all(event["unit"] == "rows" for event in second.events("progress"))
    assert not second.events("eval")
    assert (metrics["stopped"], metrics["best_step"], metrics["steps"], metrics["eval_loss"]) == ("early", 4, 8, 3.0)
    assert second.manifest["metrics"] == metrics
    saved = load_file(first.directory / "checkpoints" / "step-00000004" / "weights.safetensors")
    published = load_file(second.output / ADAPTER)
    assert all(torch.equal(tensor, published[name.replace(".default", "")]) for name, tensor in saved.items())


def test_asked_to_leave_while_it_measures_it_measures_when_it_is_taken_up(attempt, recipe, monkeypatch):
    config = recipe("train.max_steps=6", "eval.steps=2", "eval.patience=1", "train.save_steps=50")
    first = attempt(1)

    def leave(run):
        if len(first.events("progress")) and first.events("progress")[-1]["done"] == 4:
            first.request_stop("save")

    with monkeypatch.context() as patch:
        measured_as(patch, [5.0, 4.0, 9.0], leave)
        with pytest.raises(Interrupted):
            train(config, first)
    assert [event["step"] for event in first.events("eval")] == [0, 2]
    assert [event["reason"] for event in first.events("stop")] == ["asked"]
    measured_as(monkeypatch, [4.5])
    second = attempt(2)
    metrics = train(config, second)
    assert [(event["step"], event["best"]) for event in second.events("eval")] == [(4, False)]
    assert (metrics["stopped"], metrics["steps"], metrics["best_step"], metrics["eval_loss"]) == ("early", 4, 2, 4.5)


def test_asked_to_leave_where_there_is_nothing_new_to_save(attempt, recipe, home):
    """What is told of it is true: before a first checkpoint the run begins anew, after one it goes on from there."""
    early, saved, again = attempt(1), attempt(2), attempt(3)
    early.request_stop("save")
    saved.stop_at = (2, "save")
    again.request_stop("save")
    begins = "`camelid jobs retry 1` begins anew: nothing was saved yet."
    goes_on = "`camelid jobs retry 1` goes on from step 2, where it was saved."
    for run, told in ((early, begins), (saved, goes_on), (again, goes_on)):
        with pytest.raises(Interrupted):
            launch(recipe(), run)
        assert resume_hint(home, 1) == told
        assert (run.directory / "checkpoints").exists() == (run is saved)


def test_low_enough_a_loss_ends_the_run(attempt, recipe):
    run = attempt()
    metrics = train(recipe("train.stop_at_loss=100", "train.log_steps=2", "data.eval_rows=0"), run)
    (stop,) = run.events("stop")
    assert (stop["reason"], metrics["stopped"], metrics["steps"]) == ("loss", "loss", 1)
    assert "as train.stop_at_loss=100 says" in stop["text"]
    assert "best_step" not in metrics


def test_the_row_that_has_no_loss_is_named_and_the_checkpoint_before_it_stays(attempt, recipe, poisoned):
    run = attempt()
    config = recipe(
        *poisoned, "train.save_steps=1", "train.accumulation=2", "train.batch_size=4", "train.log_steps=10",
        "train.max_steps=20", "train.seed=4", "train.preflight=false",
    )  # fmt: skip
    with pytest.raises(NanLoss, match=r"the loss became nan .*row r17 of rows \(loss nan\): 'Zebra 中!") as told:
        train(config, run)
    (stop,) = run.events("stop")
    assert stop["text"] == str(told.value)
    assert (stop["reason"], stop["rows"][0]["id"], len(stop["rows"])) == ("nan", "r17", 5)
    assert "Mend or leave out the first of them" in stop["text"]
    steps = len([event for event in run.events("progress") if event["unit"] == "steps"])
    assert f"at step {steps + 1};" in stop["text"]
    kept = sorted(path.name for path in (run.directory / "checkpoints").glob("step-*"))
    assert steps > 0
    assert kept[-1] == f"step-{steps:08d}"
    assert f"The checkpoint {kept[-1]} is kept." in stop["text"]
    assert not run.output.exists()


def test_another_base_or_other_data_is_no_run_to_go_on_with(attempt, recipe, base, tmp_path):
    data = write_jsonl(tmp_path / "rows.jsonl", [{"instruction": f"q{n}", "output": f"a{n}"} for n in range(20)])
    own = shutil.copytree(base(), tmp_path / "own")
    config = recipe(
        f"model.name={json.dumps(str(own))}", f"data.sources={json.dumps([str(data)])}", "data.eval_rows=0",
    )  # fmt: skip
    first = attempt(1)
    first.stop_at = (1, "save")
    with pytest.raises(Interrupted):
        train(config, first)
    text = data.read_text()
    data.write_text(text.replace("a7", "a8"))
    with pytest.raises(TrainingError, match="the training data changed since the checkpoint step-00000001 was written"):
        train(config, attempt(2))
    data.write_text(text)
    shutil.copy(base("llama", 1) / "model.safetensors", own / "model.safetensors")
    with pytest.raises(TrainingError, match="the base model changed since the checkpoint"):
        train(config, attempt(3))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("train.best=true",), "train.best needs measurements .* eval.steps=50"),
        (("eval.patience=2",), "eval.patience needs measurements"),
        (("eval.patience=2", "eval.steps=1", "data.eval_rows=0"), "eval.patience needs held-out rows"),
    ],
)
def test_what_cannot_be_measured_cannot_be_chosen_by(attempt, recipe, overrides, sentence):
    with pytest.raises(ConfigError, match=sentence):
        train(recipe(*overrides), attempt())


def test_data_too_small_to_hold_rows_out_is_said(attempt, recipe, tmp_path):
    path = write_jsonl(tmp_path / "few.jsonl", [{"instruction": f"q{n}", "output": f"a{n}"} for n in range(3)])
    with pytest.raises(DataError, match=r"train\.best needs held-out rows, and of 3 rows none can be spared"):
        train(recipe(f"data.sources={json.dumps([str(path)])}", "train.best=true", "eval.steps=1"), attempt())


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused_before_the_weights(attempt, recipe, base, tmp_path):
    own = shutil.copytree(base(), tmp_path / "own")
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps(config | {"vocab_size": config["vocab_size"] - 1}))
    (own / "model.safetensors").unlink()
    save_file({}, own / "model.safetensors")
    with pytest.raises(ModelError, match=f"ids up to {config['vocab_size'] - 1} and the model a vocabulary of"):
        train(recipe(f"model.name={json.dumps(str(own))}"), attempt())
