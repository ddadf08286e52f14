"""Trackers get the numbers of the events, and none of them can end a run."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

import pytest
from camelid_core.errors import ConfigError, MissingPackage
from camelid_core.jobs.attempt import AttemptContext
from camelid_core.jobs.run_directories import attempt_directory
from camelid_train.config import Recipe
from camelid_train.launching import train
from camelid_train.monitoring import trackers
from transformers import TrainerCallback


@pytest.fixture
def tracked(monkeypatch):
    """What a tracker was sent; it stands in for trackio, whose callback transformers would look up."""
    calls = []

    class Recorder(TrainerCallback):
        def on_train_begin(self, args, state, control, model=None, **_):
            calls.append(("begin", args.run_name, args.to_dict()["train.learning_rate"]))

        def on_log(self, args, state, control, logs=None, **_):
            calls.append((state.global_step, logs))

        def on_train_end(self, args, state, control, **_):
            calls.append(("end",))

    monkeypatch.setattr("transformers.integrations.get_reporting_integration_callbacks", lambda names: [Recorder])
    monkeypatch.setattr(trackers, "find_spec", lambda name: name)
    return calls


def scalars(directory: Path, name: str) -> dict[int, float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory))
    events.Reload()
    return {scalar.step: scalar.value for scalar in events.Scalars(name)}


@pytest.mark.slow
def test_tensorboard_shows_the_events(attempt, recipe, home, monkeypatch):
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    run = attempt(job=7)
    train(recipe("train.max_steps=4", "eval.steps=2", 'train.report_to=["tensorboard"]'), run)
    directory = home / "tensorboard" / "train-7"
    for name in ("loss", "smoothed", "grad_norm", "learning_rate"):
        expected = {event["step"]: event[name] for event in run.events("train")}
        assert scalars(directory, f"train/{name}") == pytest.approx(expected, abs=1e-5)
    expected = {event["step"]: event["loss"] for event in run.events("eval")}
    assert scalars(directory, "eval/loss") == pytest.approx(expected, abs=1e-5)
    assert f"tensorboard --logdir {home}/tensorboard" in "".join(event["text"] for event in run.events("log"))


def test_numbers_go_out_with_their_step_and_settings_with_the_run(home, tracked):
    directory = attempt_directory(home, 12, 1)
    directory.mkdir(parents=True)
    recipe = Recipe.model_validate({"train": {"report_to": ["trackio"], "learning_rate": 0.25}})
    context = AttemptContext(directory, "my run/1")
    with trackers.with_trackers(recipe, context) as context_told:
        context_told.emit("progress", done=1)
        assert not tracked  # nothing to show yet
        context_told.emit("eval", step=0, loss=2.0)
        context_told.emit("train", step=3, loss=1.0, smoothed=1.5, note="no number")
        context_told.emit("eval", step=3, loss=0.5, best=True)
    assert tracked == [
        ("begin", "my-run-1-12", 0.25),
        (0, {"eval_loss": 2.0}),
        (3, {"loss": 1.0, "smoothed": 1.5}),
        (3, {"eval_loss": 0.5}),
        ("end",),
    ]
    assert (context_told.directory, context_told.output) == (context.directory, context.output)
    assert (context_told.earlier_attempts, context_told.stop_requested()) == ((), "")
    context.close()


def test_a_run_without_trackers_is_sent_to_none(home, tracked):
    directory = attempt_directory(home, 1, 1)
    directory.mkdir(parents=True)
    context = AttemptContext(directory)
    with trackers.with_trackers(Recipe(), context) as same:
        assert same is context
    context.close()


@pytest.mark.parametrize("event", ["__init__", "on_train_begin", "on_log", "on_train_end"])
def test_a_tracker_that_fails_is_dropped_and_the_run_goes_on(attempt, monkeypatch, event):
    def fail(*_, **__):
        raise ConnectionError("no route to host\nfor a long time")

    broken = type("Broken", (TrainerCallback,), {event: fail})
    monkeypatch.setattr("transformers.integrations.get_reporting_integration_callbacks", lambda names: [broken])
    monkeypatch.setattr(trackers, "find_spec", lambda name: name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = attempt()
    with trackers.with_trackers(Recipe.model_validate({"train": {"report_to": ["wandb"]}}), run) as context:
        for step in (1, 2):
            context.emit("train", step=step, loss=1.0)
    assert len(run.events("train")) == 2
    log_texts = [each["text"] for each in run.events("log")]
    assert [text for text in log_texts if "without" in text] == ["The run goes on without wandb: no route to host"]
    assert any("curves go to wandb" in text for text in log_texts) == (event in ("on_log", "on_train_end"))


def test_a_missing_package_is_said_before_anything_runs(attempt, recipe, monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    run = attempt()
    with pytest.raises(MissingPackage, match=r"'mlflow' is not installed; type `pip install 'camelid-train\[mlflow"):
        train(recipe('train.report_to=["mlflow"]'), run)
    assert not (run.directory / "events.jsonl").read_text()


def test_only_known_trackers_can_be_named(recipe):
    with pytest.raises(ConfigError, match=r"train\.report_to\.0: Input should be 'tensorboard', 'trackio', 'wandb' or"):
        recipe('train.report_to=["tensorbord"]')


def test_every_tracker_has_an_extra_of_its_own_and_a_callback():
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    for name, tracker in trackers.TRACKERS.items():
        assert extras["optional-dependencies"][name][0].startswith(f"{tracker.package}>=")
        assert name in INTEGRATION_TO_CALLBACK
    assert importlib.metadata.version("tensorboard")
