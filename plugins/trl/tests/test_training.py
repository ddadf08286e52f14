"""The four objectives through the train task: what they make likelier, what they leave behind, and how they go on."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from camelid_core.artefacts import verify_directory
from camelid_core.config import load
from camelid_core.errors import DataError, TrainingError
from camelid_core.integrity import sha256
from camelid_core.tasks import Interrupted
from camelid_train.config import Recipe
from camelid_train.export.merge import merge
from camelid_train.export.merge_config import MergeConfig
from camelid_train.objectives.registry import objectives
from camelid_train.objectives.rewards import Reward, rewards
from camelid_train.planning.plan import plan
from camelid_train.run import train
from camelid_train.testing import assert_objective_contract
from camelid_trl.trainer_mixin import TrlTrainerMixin
from peft import PeftModel
from transformers import AutoModelForCausalLM

RECIPES = Path(__file__).parents[3] / "examples" / "recipes"
ADAPTER = "adapter_model.safetensors"
QUICK = ("train.preflight=false", "eval.samples=0", "data.eval_rows=0")


def test_dpo_prefers_the_better_answer_and_leaves_a_plain_adapter(attempt, recipe, base):
    run = attempt()
    config = recipe("objective.type=dpo", "objective.beta=0.2", "eval.samples=1", "eval.sample_tokens=2")
    metrics = train(config, run)
    losses, margins = run.numbers("loss"), run.numbers("reward_margin")
    assert losses[0] == pytest.approx(math.log(2), abs=1e-6), "nothing is learnt yet: the model is its own reference"
    assert margins[0] == 0
    assert min(margins[-3:]) > 0.1 > max(margins[:2])
    assert run.numbers("reward_accuracy")[-3:] == [1, 1, 1]
    assert metrics["base_eval_loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert metrics["eval_loss"] < 0.65
    assert run.manifest["parameters"]["objective"] == config.objective.model_dump()
    assert run.manifest["plugins"]["camelid-trl"]
    assert {path.name for path in run.output.iterdir() if path.is_dir()} == set(), "no second adapter"

    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base()), run.output)
    assert list(plain.peft_config) == ["default"]


@pytest.mark.parametrize(("kind", "start"), [("kto", 0.5), ("orpo", None)])
def test_the_loss_falls_and_the_margin_rises(attempt, recipe, kind, start):
    run = attempt()
    metrics = train(recipe(f"objective.type={kind}", *QUICK), run)
    losses, margins = run.numbers("loss"), run.numbers("reward_margin")
    assert start is None or losses[0] == pytest.approx(start, abs=1e-6)
    assert sum(losses[-3:]) < sum(losses[:3])
    assert min(margins[-3:]) > max(margins[:2])
    assert metrics["trained_tokens"] < metrics["total_tokens"]


@pytest.mark.parametrize("name", ["dpo", "orpo"])
def test_an_objective_keeps_the_contract_of_all_objectives(base, choices, tmp_path, home, name):
    fields = ("data.eval_rows=3", "train.learning_rate=0.01", "train.preflight=false")
    assert_objective_contract(objectives()[name], base(), choices, tmp_path / "runs", fields)


def test_a_plan_counts_every_answer_of_a_group(recipe, home):
    """Twenty-nine prompts, eight answers a step: of two prompts, of one."""
    config = recipe("objective.type=grpo", "objective.group=4", "train.max_steps=14")
    two, one = plan(config), plan(config.with_overrides(["objective.group=8", "train.max_steps=28"]))
    assert (two["passes"], one["passes"]) == (1, pytest.approx(28 / 29, abs=1e-3))
    assert one["tokens"] == pytest.approx(2 * two["tokens"], abs=1)
    with pytest.raises(DataError, match="29 rows are too few for a step of 128"):
        plan(config.with_overrides(["train.batch_size=128", "objective.group=4"]))


@pytest.mark.slow
def test_grpo_learns_what_is_rewarded(attempt, recipe):
    """A letter that a random model says by chance, so that there is something to reward."""
    if "an-e" not in rewards():
        rewards().add(Reward("an-e", "Has a letter e.", lambda answer, reference: float("e" in answer)), "the tests")
    run = attempt()
    own = ("objective.reward=an-e", "objective.answer_tokens=6", "objective.group=16", "method.type=full")
    train(recipe("objective.type=grpo", *own, "train.batch_size=64", *QUICK), run)
    earned = run.numbers("reward")
    assert sum(earned[-3:]) / 3 > sum(earned[:3]) / 3 + 0.1
    assert all(0 < length <= 6 for length in run.numbers("answer_length"))


@pytest.mark.parametrize("kind", ["dpo", pytest.param("grpo", marks=pytest.mark.slow)])
def test_an_interrupted_run_goes_on_bit_for_bit(attempt, recipe, kind):
    """Dropout, accumulation over the ends of epochs, and sampled answers are as they would have been."""
    own = ("objective.answer_tokens=4", "objective.group=4", "data.rows=20") if kind == "grpo" else ()
    settings = ("method.dropout=0.1", "train.accumulation=2", "train.max_steps=5", "eval.steps=2", "data.eval_rows=2")
    config = recipe(f"objective.type={kind}", *own, *settings, "train.preflight=false", "eval.samples=0")
    whole, part, last = attempt(1, job=1), attempt(1, job=2), attempt(2, job=2)
    undisturbed = train(config, whole)
    part.stop_at = (3, "save")
    with pytest.raises(Interrupted):
        train(config, part)
    resumed = train(config, last)
    assert [event["done"] for event in last.events("progress") if event["unit"] == "steps"] == [4, 5]
    assert sha256(last.output / ADAPTER) == sha256(whole.output / ADAPTER)
    counted = ("steps", "trained_tokens", "total_tokens", "final_loss", "eval_loss")
    assert [resumed[name] for name in counted] == [undisturbed[name] for name in counted]


@pytest.mark.parametrize("kind", ["dpo", "kto", "orpo"])
def test_a_step_that_is_tried_before_the_first_and_measuring_on_the_way_leave_no_trace(attempt, recipe, kind):
    own = ("method.dropout=0.2", "train.accumulation=2", "train.max_steps=3", "eval.samples=0", "data.eval_rows=2")
    tried, plain = attempt(job=1), attempt(job=2)
    train(recipe(f"objective.type={kind}", "eval.steps=1", *own), tried)
    train(recipe(f"objective.type={kind}", *own, "train.preflight=false"), plain)
    assert sha256(tried.output / ADAPTER) == sha256(plain.output / ADAPTER)
    for name in ("step", "loss", "reward_margin"):
        assert tried.numbers(name) == plain.numbers(name)
    (event,) = tried.events("preflight")
    assert 0 < event["peak_memory"] < event["free_memory"]
    assert event["eta"] == pytest.approx(event["step_seconds"] * 3, abs=0.1)
    assert (event["notes"], event["global_batch"]) == ([], 16)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (("objective.type=dpo",), r"Set train\.batch_size=4 train\.accumulation=2 for the same global batch"),
        (("objective.type=kto", "train.batch_size=2"), r"Set train\.gradient_checkpointing=\"on\""),
    ],
)
def test_full_memory_is_a_sentence_that_says_what_to_set(attempt, recipe, monkeypatch, settings, sentence):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB. GPU 0 has a total capacity of 1.")

    monkeypatch.setattr(TrlTrainerMixin, "compute_loss", full)
    with pytest.raises(TrainingError, match=rf"memory ran out \(CUDA out of memory\. .* GiB\.\) {sentence}"):
        train(recipe(*settings, "data.eval_rows=0", "train.preflight=false"), attempt())


@pytest.mark.parametrize("moment", ["origin", "model"])
def test_asked_to_leave_while_the_model_loads_it_leaves_nothing_half_written(attempt, recipe, moment):
    run = attempt()
    emit = run.emit

    def emit_and_ask(kind, **values):
        emit(kind, **values)
        if kind == moment:
            run.request_stop("save")

    run.emit = emit_and_ask
    with pytest.raises(Interrupted):
        train(recipe("objective.type=dpo", "method.type=full"), run)
    assert {path.name for path in run.directory.iterdir()} <= {"events.jsonl", "checkpoints"}
    assert not list(run.directory.glob("checkpoints/*"))
    assert bool(run.events("model")) == (moment == "model"), "asked before it loads, it does not begin to"


PLAIN = {"dpo": math.log(2), "kto": 0.5}
"""The loss of a model that is its own reference."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "method"),
    [("dpo", "full"), ("dpo", "qlora"), ("dpo", "adalora"), ("dpo", "prefix"), ("kto", "full"), ("orpo", "full")],
)
def test_objectives_go_with_every_way_of_tuning(attempt, recipe, kind, method):
    run = attempt()
    train(recipe(f"objective.type={kind}", f"method.type={method}", "train.max_steps=2", *QUICK), run)
    (first, *_), last = run.numbers("loss"), run.numbers("loss")[-1]
    assert math.isfinite(last)
    if kind in PLAIN and method not in (
        "adalora",
        "prefix",
    ):  # the one adds a penalty, the other says something at once
        assert first == pytest.approx(PLAIN[kind], abs=1e-5)
    if method == "full":
        AutoModelForCausalLM.from_pretrained(run.output)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dpo", "kto", "orpo", "grpo"])
def test_a_shipped_recipe_trains_as_it_is_on_a_tiny_model(attempt, base, name):
    changes = [f"model.name={base()}", "data.rows=24", "data.eval_rows=2", "train.max_steps=2", "eval.samples=0"]
    changes += ["objective.answer_tokens=4"] if name == "grpo" else []
    config = load(Recipe, RECIPES / f"{name}.toml", changes)
    run = attempt()
    metrics = train(config, run)
    assert (metrics["steps"], config.objective.type) == (2, name)
    assert verify_directory(run.output).manifest.parameters["objective"] == config.objective.model_dump()


@pytest.mark.slow
def test_a_preferring_adapter_merges_like_any_other(attempt, recipe):
    run = attempt()
    train(recipe("objective.type=dpo", *QUICK), run)
    merged = attempt(2)
    merge(MergeConfig(adapter=str(run.output)), merged)
    model = AutoModelForCausalLM.from_pretrained(merged.output)
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())
