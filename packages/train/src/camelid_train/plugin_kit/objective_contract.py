"""The rules that an objective keeps. Knows the training task; knows no objective."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from camelid_core.integrity import sha256
from camelid_core.tasks import Interrupted

from camelid_train.config import Recipe
from camelid_train.objectives import LearningObjective, Objective
from camelid_train.objectives.registry import objectives

from .attempt_record import Attempt, attempts, small_recipe
from .section_rules import assert_section

_STEPS, _STOP_AT = 4, 2


def assert_objective_contract(
    objective: LearningObjective[Any], model: Path, data: Path, scratch: Path, overrides: Sequence[str] = ()
) -> None:
    """What Camelid relies on in every objective, shown by training the model in directory `model` on `data`:

    - it has a name that can be typed, a sentence of help, and a section that is chosen by its name;
    - `one_epoch` has steps where there are rows enough, and uses rows;
    - every step has a finite loss, and all that `extra_metrics` names is in its event;
    - the held-out loss is finite, lower after training than before, and the same when it is measured again;
    - a run that is interrupted and resumed ends with the same weights as one that is not.

    The objective must be installed: the run finds it by its name, as a recipe does. `scratch` is an empty directory;
    `overrides` are fields of the recipe, where the objective needs others.
    """
    section = assert_section(objective, Objective)
    name = objective.name
    installed = name in objectives() and objectives()[name] is objective
    assert installed, f"{name}: Camelid does not find it; return it from camelid_objectives, and install the plugin"
    steps, rows = objective.one_epoch(section, 1024, 8)
    assert steps >= 1, f"{name}: one_epoch(section, rows=1024, batch=8) gives {(steps, rows)}, an epoch without steps"
    assert rows >= 1, f"{name}: one_epoch(section, rows=1024, batch=8) gives {(steps, rows)}, an epoch without rows"
    fields = (f"objective.type={name}", f"train.max_steps={_STEPS}", "train.save_steps=1", "eval.samples=0")
    recipe = small_recipe(model, data, (*fields, *overrides))
    with contextmanager(attempts)(scratch) as attempt:
        whole = attempt(job=1)
        _assert_trains(objective, recipe, whole)
        _assert_resumes(objective, recipe, whole, attempt)


def _assert_trains(objective: LearningObjective[Any], recipe: Recipe, run: Attempt) -> None:
    from camelid_train.run import train

    name, metrics = objective.name, train(recipe, run)
    assert len(run.losses) == _STEPS, f"{name}: {len(run.losses)} of {_STEPS} steps logged a loss"
    assert all(map(math.isfinite, run.losses)), f"{name}: a loss is no number: {run.losses}"
    for key in objective.extra_metrics.values():
        absent = [event for event in run.events("train") if key not in event]
        assert not absent, f"{name}: extra_metrics names {key!r}, and step {absent[0].get('step')} did not log it"
    before, after = metrics["base_eval_loss"], metrics["eval_loss"]
    assert math.isfinite(before), f"{name}: the held-out loss before training is {before}"
    assert math.isfinite(after), f"{name}: the held-out loss after training is {after}"
    assert after < before, f"{name}: the held-out loss does not fall: {before:.4g}, {after:.4g}; lower is better"


def _assert_resumes(
    objective: LearningObjective[Any], recipe: Recipe, whole: Attempt, attempt: Callable[..., Attempt]
) -> None:
    from camelid_train.run import train

    name, first, last = objective.name, attempt(1, job=2), attempt(2, job=2)
    first.stop_at = (_STOP_AT, "save")
    stopped = False
    try:
        train(recipe, first)
    except Interrupted:
        stopped = True
    one, other = (run.events("eval")[0]["loss"] for run in (whole, first))
    assert one == other, f"{name}: the held-out loss of the base is {one}, and {other} when it is measured again"
    assert stopped, f"{name}: a stop was requested, and the run went on to its end"
    train(recipe, last)
    resumed = any(event["text"].startswith("Resuming from step-") for event in last.events("log"))
    assert resumed, f"{name}: nothing to resume from; its trainer must write Camelid's checkpoints"
    assert _digests(last) == _digests(whole), f"{name}: a run that was resumed ends with other weights"


def _digests(run: Attempt) -> dict[str, str]:
    return {path.name: sha256(path) for path in run.output.glob("*.safetensors")}
