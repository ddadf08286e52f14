"""Callbacks of plugins: they hear of every step, may end the loop, and cannot end the run."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from camelid_core import hookimpl
from camelid_core.plugins import Host, Plugin, load_host
from camelid_train import run as run_module
from camelid_train.config import Recipe
from camelid_train.monitoring.callbacks import LoopCallback, add_plugin_callbacks
from camelid_train.run import train
from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_callback import CallbackHandler


@pytest.fixture
def plugin(monkeypatch):
    """Installs a plugin that gives these callbacks, for one run."""

    def install(*items):
        module = SimpleNamespace(camelid_trainer_callbacks=hookimpl(lambda: list(items)))
        host = Host()
        host.load([*load_host().plugins, Plugin("a-plugin", "1.0", module)])
        monkeypatch.setattr(run_module, "load_host", lambda: host)
        return host

    return install


class Heard(TrainerCallback):
    def __init__(self) -> None:
        self.events: list[str] = []

    def on_train_begin(self, args, state, control, model=None, **_):
        assert model is not None
        self.events.append("begin")

    def on_step_end(self, args, state, control, **_):
        self.events.append(f"step {state.global_step}")

    def on_log(self, args, state, control, logs=None, **_):
        self.events.append(f"loss at {state.global_step}" if "loss" in logs else "summary")


def giving(callback, name="listener"):
    return LoopCallback(name, "Listens.", lambda recipe, context: callback)


def test_it_hears_what_a_callback_hears(attempt, recipe, plugin):
    heard = Heard()
    host = plugin(giving(heard))
    assert host.check() == []
    assert host.provided_by("a-plugin") == {"camelid_trainer_callbacks": ["listener"]}
    train(recipe("train.max_steps=2"), attempt())
    assert heard.events == ["begin", "step 1", "loss at 1", "step 2", "loss at 2", "summary"]


def test_it_sees_the_recipe_and_emits_events_or_stays_away(looped):
    def make(recipe, context):
        context.emit("log", text=f"rate {recipe.train.learning_rate}")

    assert looped(LoopCallback("shy", "", make))[0] == ["rate 0.0003"]


class Stop(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        control.should_training_stop = state.global_step == 2
        return control


class Fails(TrainerCallback):
    calls = 0

    def on_step_end(self, args, state, control, **_):
        Fails.calls += 1
        raise ValueError("what?\nand more")


@pytest.mark.slow
def test_it_may_stop_the_loop_and_one_that_raises_does_not(attempt, recipe, plugin):
    run = attempt()
    plugin(giving(Fails(), "faulty"), giving(Stop(), "stop"))
    assert train(recipe("train.max_steps=5"), run)["steps"] == 2
    assert [event["done"] for event in run.events("progress") if event["unit"] == "steps"] == [1, 2]


@pytest.fixture
def looped(attempt, plugin):
    """Attaches callbacks to a loop of three steps: what was said, and what each was told."""

    def run(*items):
        callbacks, context = [], attempt()
        add_plugin_callbacks(SimpleNamespace(add_callback=callbacks.append), Recipe(), context, plugin(*items))
        handler = CallbackHandler(callbacks, torch.nn.Linear(1, 1), None, None, None)
        control = TrainerControl()
        for step in (1, 2, 3):
            control = handler.on_step_end(None, TrainerState(global_step=step), control)
        return [event["text"] for event in context.events("log")], control

    return run


@pytest.mark.parametrize("failure", [ValueError("what?\nand more"), SystemExit("bye"), KeyError()])
def test_one_that_raises_is_named_once_and_left_out_while_others_go_on(looped, failure, monkeypatch):
    def fail(*_, **__):
        Fails.calls += 1
        raise failure

    monkeypatch.setattr(Fails, "on_step_end", fail)
    monkeypatch.setattr(Fails, "calls", 0)
    heard = Heard()
    (text,), _ = looped(giving(Fails(), "faulty"), giving(heard))
    assert Fails.calls == 1
    assert heard.events == ["step 1", "step 2", "step 3"]
    start = "Callback 'faulty' of plugin 'a-plugin' failed in on_step_end at step 1 and is left out from here on: "
    assert text.startswith(start + type(failure).__name__)
    assert "more" not in text


def test_what_it_asks_of_the_loop_is_done(looped):
    class Ask(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            control.should_save = True
            return control

    said, control = looped(giving(Ask()))
    assert (said, control.should_save) == ([], True)


def test_one_that_cannot_be_made_is_left_out(looped):
    (text,), _ = looped(SimpleNamespace(name="unfinished"), giving(None, "absent"))
    assert text.startswith("Callback 'unfinished' of plugin 'a-plugin' could not be made and is left out: Attribute")


def test_the_doctor_names_a_plugin_that_gives_something_else(plugin):
    (problem,) = plugin(TrainerCallback()).check()
    assert problem.plugin == "a-plugin"
    assert "has no name" in problem.message
