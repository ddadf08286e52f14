"""A rehearsal goes through a whole recipe in small: it needs no weights, leaves nothing behind, and says what fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from camelid_core.errors import ArtefactError, TrainingError
from camelid_core.testing import tiny_tokenizer
from camelid_train.config import Recipe
from camelid_train.methods.lora import Lora
from camelid_train.methods.registry import methods
from camelid_train.planning.plan import plan
from camelid_train.planning.rehearsal import SUBSTITUTE_METHODS, rehearsal_recipe, rehearse
from camelid_train.run import train
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig

RECIPE = """
[model]
name = "{model}"
[data]
sources = ["{data}"]
template = "chatml"
"""
STAGES = ["model", "data", "method", "training", "checkpoint", "loading"]


@pytest.fixture(scope="session")
def bare(tmp_path_factory):
    """The directory of a full-sized model without its weights."""
    root, tokenizer = tmp_path_factory.mktemp("bare"), tiny_tokenizer()

    def make(family: str = "llama", **values):
        directory = root / f"{family}{len(values)}"
        if not directory.exists():
            config = AutoConfig.for_model(family, vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=1, **values)
            config.save_pretrained(directory)
            tokenizer.save_pretrained(directory)
        return directory

    return make


@pytest.fixture
def large(bare, sums):
    """A recipe for a model of seven billion parameters."""

    def make(*overrides: str, family: str = "llama") -> Recipe:
        values = {
            "model": {"name": str(bare(family)), "dtype": "float32"},
            "data": {"sources": [str(sums)], "eval_rows": 64, "template": "chatml", "cutoff": 4096},
            "train": {"batch_size": 16, "accumulation": 8, "epochs": 3, "save_steps": 500, "best": True},
            "eval": {"steps": 100, "patience": 3},
        }
        return Recipe.model_validate(values).with_overrides(overrides)

    return make


@pytest.fixture
def command(home, bare, sums):
    """`camelid train RECIPE …` in a process of its own."""
    Path("recipe.toml").write_text(RECIPE.format(model=bare(), data=sums))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "camelid_core.cli", "train", "recipe.toml", *arguments]
        return subprocess.run(line, capture_output=True, text=True)

    return run


def test_the_whole_recipe_is_gone_through_and_nothing_is_left(home, large, sums, monkeypatch):
    """On a set that `camelid datasets fetch` put there, so the Hub is not asked."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rows = [json.loads(line) | {"input": ""} for line in sums.read_text().splitlines()]
    (home / "mirror" / "dolly").mkdir(parents=True)
    (home / "mirror" / "dolly" / "dolly.json").write_text(json.dumps(rows))
    before = sorted(home.rglob("*"))
    stages_done = []
    stages = rehearse(large('data.sources=["dolly"]', "model.rope=linear:4"), stages_done.append)
    assert [stage.name for stage in stages_done] == [*STAGES, "merging"]
    assert stages_done == stages.done
    text = {stage.name: stage.text for stage in stages_done}
    assert "LlamaForCausalLM made small" in text["model"]
    assert text["data"].startswith("24 rows (0 of them cut off, 0 left out), 4 held out")
    assert text["training"].startswith("2 steps, loss ")
    assert "taken up again, 2 more steps" in text["checkpoint"]
    assert "held-out loss" in text["checkpoint"]
    assert os.environ["CAMELID_HOME"] == str(home)
    assert sorted(home.rglob("*")) == before


EACH = {
    "qlora": "qwen2",
    "full": "qwen3_moe",
    "adalora": "gpt_neox",
    "ia3": "bloom",
    "prefix": "gemma",
    "p-tuning": "llama",
    "prompt": "qwen2",
    "lora-gptq": "mixtral",
}


def test_every_method_is_rehearsed_here():
    assert {*EACH, "lora"} == set(methods().names())


@pytest.mark.slow
@pytest.mark.parametrize(("method", "family"), EACH.items())
def test_every_method_and_every_family(home, large, method, family):
    stages = rehearse(large(f"method.type={method}", "data.rows=6", family=family))
    merged = methods()[SUBSTITUTE_METHODS.get(method, method)].mergeable
    assert [stage.name for stage in stages.done] == [*STAGES, *(["merging"] if merged else [])]


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ('method.targets=["query"]', r"stage 'method': method\.targets: this model has no linear layer 'query'"),
        ("data.cutoff=16", r"stage 'data': .*Raise data\.cutoff"),
        ("model.name=nobody/nothing", r"stage 'model': .*camelid models pull nobody/nothing"),
        ("data.template=alpacca", r"stage 'data': template 'alpacca' is not known\. Did you mean 'alpaca'"),
    ],
)
def test_what_would_fail_later_fails_now_and_says_where(home, large, override, sentence):
    with pytest.raises(TrainingError, match=sentence):
        rehearse(large(override))
    assert os.environ["CAMELID_HOME"] == str(home)


@pytest.mark.slow
def test_a_result_that_is_not_what_was_trained_is_found_out(home, large, monkeypatch):
    save = Lora.save

    def forgetful(self, model, *rest):
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.data.add_(1.0)
        save(self, model, *rest)

    monkeypatch.setattr(Lora, "save", forgetful)
    with pytest.raises(TrainingError, match="stage 'loading': what was saved gives other logits"):
        rehearse(large())


def test_a_fault_of_a_library_is_one_sentence(home, large, monkeypatch):
    monkeypatch.setattr(Lora, "prepare", lambda *_: {}["nothing\nmore"])
    with pytest.raises(TrainingError, match=r"^the rehearsal failed at its stage 'method' with a KeyError: .*$"):
        rehearse(large())


@given(st.integers(1, 10**6), st.integers(1, 4096), st.integers(0, 10000), st.sampled_from([*EACH]))
def test_small_is_never_more_than_the_recipe_and_always_a_recipe(rows, batch, held, method):
    overrides = [f"data.rows={rows}", f"train.batch_size={batch}", f"data.eval_rows={held}", f"method.type={method}"]
    recipe = Recipe().with_overrides([*overrides, "train.output=precious", "launch.processes=4"])
    small = rehearsal_recipe(recipe, "/tmp/tiny", "alpaca")
    assert small.data.rows <= rows
    assert (small.train.batch_size, small.launch.processes) == (2, 1)
    assert small.data.eval_rows <= held
    assert (small.train.max_steps, small.train.output, small.train.report_to) == (4, "", [])
    assert (small.model.name, small.data.template) == ("/tmp/tiny", "alpaca")
    assert small.method.type == SUBSTITUTE_METHODS.get(method, method)
    assert small.data.cutoff == recipe.data.cutoff


@pytest.mark.slow
def test_the_command(command):
    done = command("--rehearse", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert [stage["name"] for stage in summary["stages"]] == [*STAGES, "merging"]
    assert "Warning" not in done.stderr
    failed = command("--rehearse", "model.name=nobody/nothing")
    assert failed.returncode == 1
    assert "camelid models pull nobody/nothing" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_plan_counts_what_the_run_will_do(attempt, recipe):
    config = recipe("train.epochs=3", "train.accumulation=2", "train.max_steps=7")
    counted, run = plan(config), attempt()
    metrics = train(config, run)
    (data,) = run.events("data")
    assert (counted["rows"], counted["kept"], counted["held out"]) == (data["rows"], data["kept"], data["heldout"])
    assert counted["steps"] == metrics["steps"] == 7
    assert counted["tokens"] == pytest.approx(metrics["total_tokens"], rel=0.2)
    assert counted["longest row"] == run.events("preflight")[0]["longest"]


def test_a_plan_finds_weights_that_are_cut_short(recipe, base, tmp_path):
    cut = shutil.copytree(base(), tmp_path / "cut")
    weights = cut / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ArtefactError, match="it is damaged"):
        plan(recipe(f"model.name={json.dumps(str(cut))}"))


def test_a_plan_without_a_limit_goes_by_the_epochs(recipe, home):
    config = recipe("train.epochs=3")
    config = config.model_copy(update={"train": config.train.model_copy(update={"max_steps": None})})
    assert plan(config)["steps"] == 15
    assert plan(config)["trained tokens"] == 3 * plan(config.with_overrides(["train.epochs=1"]))["trained tokens"]
