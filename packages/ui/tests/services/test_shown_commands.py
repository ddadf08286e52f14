"""Every command that a page shows, pasted into a shell, does what the button beside it does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from camelid_core.artefacts import BaseModelEntry, Manifest, write_manifest
from camelid_core.commands import jobs as jobs_command
from camelid_core.config import parse_overrides, validate
from camelid_core.datasets import library
from camelid_core.mixing import Mixture
from camelid_serve.config import PredictConfig
from camelid_serve.engine import Sampling
from camelid_train.config import Recipe
from camelid_train.export.merge_config import MergeConfig
from camelid_ui.i18n import Translator
from camelid_ui.services.permissions import methods, service_paths
from camelid_ui.views.job import JobDetails, details
from typer.testing import CliRunner

RECIPES = (
    [],
    ["train.max_steps=3"],
    ["data.sources=['cot-arithmetic-en', 'cot-arithmetic-zh:0.5']", "data.caps={'cot-arithmetic-en' = 40}"],
    ["objective.type=dpo", "objective.beta=0.2", "method.type=full", "model.name=my model"],
)
MIXTURES = (
    Mixture(sources=["cot-arithmetic-en"]),
    Mixture(
        sources=["cot-arithmetic-en", "cot-arithmetic-zh:0.5"], temperature=2.5, caps={"cot-arithmetic-en": 9}, rows=20,
        deduplicate="exact", drop_tags=["a b"], drop_lints=["refusal"], seed=3,
    ),
)  # fmt: skip


@pytest.fixture
def models(home: Path, tiny: Path) -> None:
    """The model of the defaults, and one with a space in its name."""
    for name in ("smollm2-135m", "my model"):
        (home / "models" / name).symlink_to(tiny)


@pytest.fixture
def real_adapter(home: Path, tiny: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    shape = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    directory = home / "artefacts" / "tuned"
    get_peft_model(AutoModelForCausalLM.from_pretrained(tiny), shape).save_pretrained(directory)
    write_manifest(directory, Manifest(kind="adapter", base=BaseModelEntry(id="tiny", path=str(tiny))))


def shell(command: str, directory: Path) -> None:
    """As a person pastes it, somewhere."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, shell=True, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"


def test_all_that_show_a_command_are_tried_here(services):
    shown = {path for path, service in service_paths(services) if "command" in methods(service)}
    assert shown == {"training", "predictions", "merge", "exports", "data.mix"}


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("changes", RECIPES, ids=" ".join)
def test_train(services, tmp_path, changes):
    recipe = validate(Recipe, parse_overrides(changes), "the test")
    pressed = services.jobs.submit("train", recipe, "my-run")
    shell(services.training.command(recipe, "my-run") + " --detach", tmp_path)
    pasted = services.jobs.store.list()[0]
    assert (pasted.task, pasted.name, pasted.config) == (pressed.task, pressed.name, pressed.config)
    assert pasted.id != pressed.id


@pytest.mark.usefixtures("models", "real_adapter")
def test_predict(services, questions, tmp_path):
    named = questions.rename(questions.with_name("my questions.jsonl"))
    sampling = Sampling(max_new_tokens=2, stop=("it's", "x"), top_p=0.9)
    config = PredictConfig(
        model="my model", input=str(named), columns="instruction=instruction", also=["tuned"], limit=2,
        reference="output", sampling=sampling, output=str(tmp_path / "answers here"),
    )  # fmt: skip
    pressed = services.predictions.start(config)
    shell(services.predictions.command(config), tmp_path)
    pasted = services.jobs.store.list()[0]
    assert (pasted.task, pasted.config) == (pressed.task, pressed.config)
    assert (tmp_path / "answers here" / "predictions.jsonl").read_bytes().count(b"\n") == 2


@pytest.mark.usefixtures("real_adapter")
def test_merge(services, tmp_path):
    config = MergeConfig(adapter="tuned", dtype="float32", shard="1GB", output=str(tmp_path / "merged here"))
    pressed = services.merge.start(config)
    shell(services.merge.command(config), tmp_path)
    pasted = services.jobs.store.list()[0]
    assert (pasted.task, pasted.name, pasted.config) == (pressed.task, pressed.name, pressed.config)
    assert (tmp_path / "merged here" / "camelid.json").is_file()


@pytest.mark.usefixtures("real_adapter")
def test_export(services, tmp_path):
    (pressed,) = services.exports.start("tuned", ["nf4"])
    shell(services.exports.command("tuned", ["nf4"]), tmp_path)
    pasted = services.jobs.store.list()[0]
    assert (pasted.task, pasted.name, pasted.config) == (pressed.task, pressed.name, pressed.config)


@pytest.mark.parametrize("mixture", MIXTURES, ids=["plain", "all"])
def test_mix(services, tmp_path, mixture):
    work = services.data.mix.save(mixture, "pressed").wait(60)
    assert work.state == "done", work.error
    shell(services.data.mix.command(mixture, "pasted"), tmp_path)
    pressed, pasted = (
        [record.messages for record in library.get(name).load("train", None)] for name in ("pressed", "pasted")
    )
    assert pasted == pressed


def test_the_commands_of_a_job_do_what_its_buttons_do(services):
    """Each is one that `camelid jobs` knows, and is shown just where the button is."""

    def shown(number: int) -> list[str]:
        html = details(JobDetails(services.jobs.show(number)), Translator("en"))
        return re.findall(r'data-copy="camelid jobs (\w+) 1( --follow)?"', html)

    def paste(command: str) -> str:
        done = CliRunner().invoke(jobs_command.app, [command, "1"])
        assert done.exit_code == 0, done.output
        return str(services.jobs.show(1).job.state)

    services.jobs.submit("merge", {})
    assert [name for name, _ in shown(1)] == ["logs", "show", "cancel", "pause", "wait"]
    assert [paste(name) for name in ("logs", "show")] == ["queued", "queued"]
    assert paste("pause") == "paused"
    assert [name for name, _ in shown(1)] == ["logs", "show", "retry"]
    assert (paste("retry"), paste("cancel"), paste("retry")) == ("queued", "cancelled", "queued")
    services.jobs.store.start(services.jobs.store.claim("w", 30, only=1))
    assert [name for name, _ in shown(1)] == ["logs", "show", "cancel", "pause", "finish", "wait"]
    assert paste("finish") == "running"
    assert services.jobs.show(1).job.request == "finish"
    assert "finish" not in [name for name, _ in shown(1)]
