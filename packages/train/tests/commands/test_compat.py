"""`camelid compat uniform_finetune` as a person types it: it prints a recipe, and trains from it."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from camelid_core.artefacts import verify_directory
from camelid_train.commands.compat import banner, comments, count_rows
from camelid_train.compat.uniform_finetune import read
from camelid_train.config import Recipe
from camelid_train.run import train
from camelid_train.toml import to_toml

README = Path(__file__).parents[1] / "compat" / "readme.json"
WEIGHTS = {
    "decapoda-research/llama-7b-hf": "llama", "THUDM/chatglm-6b": "chatglm", "bigscience/bloomz-7b1-mt": "bloom",
}  # fmt: skip
COMMAND = "--model_type llama --model_name_or_path {model} --data {data} --lora_target_modules q_proj v_proj"
REST = "--per_gpu_train_batch_size 4 --learning_rate 3e-4 --epochs 1"


def camelid(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "camelid_core.cli", "compat", "uniform_finetune", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_the_command_prints_a_recipe_that_reads(home, sums):
    arguments = [*COMMAND.format(model="/a/model", data=sums).split(), *REST.split(), "--deepspeed", "x.json"]
    done = camelid(*arguments, "--set", "train.max_steps=5")
    assert "# Ignored, because uniform_finetune has no such flag: --deepspeed x.json" in done.stdout
    recipe = Recipe.model_validate(tomllib.loads(done.stdout))
    assert (recipe.model.name, recipe.data.sources, recipe.train.max_steps) == ("/a/model", [str(sums)], 5)
    assert (recipe.data.eval_rows, recipe.train.save_steps) == (4, 1)  # forty rows, counted


@pytest.fixture
def readme(home, named_base, sums) -> dict[str, list[str]]:
    """The manual's three commands, and what they name, small and at hand: each of the architecture that it names."""
    for name, family in WEIGHTS.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).symlink_to(named_base(family))
    rows = [{"input": ""} | json.loads(line) for line in sums.read_text().splitlines()]
    place = home / "mirror" / "combination" / "alcapa_plus_belle_plus_cot.json"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps(rows))
    return {name: shlex.split(line) for name, line in json.loads(README.read_text()).items()}


@pytest.mark.slow
def test_the_manuals_commands_train_word_for_word(readme, attempt):
    done = camelid("--run", "--json", *readme["llama"])
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["steps"] == 1  # 36 rows, 128 a step
    assert summary["artefact"] == str(Path("saved_models/llama_alpaca-belle-cot").absolute())
    manifest = verify_directory(Path(summary["artefact"])).manifest
    assert manifest.parameters["method"]["quantization"] == "int8"
    for line in (
        "***** Running training *****",
        "  Num Epochs = 1",
        "  Instantaneous batch size per GPU = 4",
        "  Gradient Accumulation steps = 32",
        "  Total train batch size (w. parallel, distributed & accumulation) = 128",
        "  Total optimization steps = 1",
        "  Saving steps = 1",
    ):
        assert line in done.stderr.splitlines()
    assert "trainable_parameters=" in done.stderr

    for job, name in ((11, "chatglm"), (12, "bloom")):
        run = attempt(job=job)
        recipe = Recipe.model_validate(tomllib.loads(to_toml(read(readme[name], 40).values)))
        metrics = train(recipe.with_absolute_paths(), run)
        manifest = verify_directory(run.output).manifest
        assert manifest.base.model_type == {"chatglm": "chatglm_6b", "bloom": "bloom"}[name]
        method = manifest.parameters["method"]
        assert (metrics["steps"], metrics["stopped"]) == (1, "")
        assert (method["type"], method["targets"]) == ({"chatglm": "lora", "bloom": "qlora"}[name], ["query_key_value"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "script"),
    [
        ("torch.distributed.launch", "camelid_train.compat.uniform_finetune"),
        ("torch.distributed.run", "camelid_core.cli compat uniform_finetune --train"),  # torchrun
    ],
    ids=["module", "command"],
)
def test_the_manuals_line_for_several_processes_trains_with_the_scripts_name_changed(
    home, base, sums, launcher, script
):
    """One run of two processes, where each used to begin one of its own."""
    launcher = f"{launcher} --nproc_per_node 2 --nnodes=1 --node_rank=0 --master_addr=localhost"
    command = COMMAND.replace("llama", "other").format(model=base("llama"), data=sums)  # a type not loaded in 8 bits
    arguments = f"{command} {REST}"
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    words = f"{launcher} --master_port={port} -m {script} {arguments} --output_dir out --set train.max_steps=1".split()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", *words],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("***** Running training *****") == 1
    assert "accumulation) = 256" in done.stderr
    assert verify_directory(Path("out")).manifest.parameters["train"]["accumulation"] == 32
    assert done.stdout.count("artefact") == 1


def test_what_does_not_fit_is_a_sentence(home):
    for arguments, sentence in (
        (["--data", "cot", "--peft_type", "magic"], "--peft_type 'magic'; use lora"),
        (["--epochs", "1"], "--data is needed"),
        (["--data", "cot", "--set", "train.epohcs=1"], "Did you mean 'epochs'"),
    ):
        done = camelid(*arguments, code=2)
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr


def test_rows_are_counted_where_they_are_at_hand(sums, tmp_path):
    assert count_rows([str(sums)]) == 40
    assert count_rows([str(sums), f"{sums}:0.5"]) == 60
    assert count_rows(["nothing-of-that-name"]) is None
    (tmp_path / "broken.jsonl").write_text("{")
    assert count_rows([str(tmp_path / "broken.jsonl")]) is None


@pytest.mark.parametrize("world", [1, 4])
def test_the_whole_batch_is_said(world):
    """Batch 4 hides 32 sums: 128 rows a step, and 512 on four processes."""
    translated = read(["--data", "cot"], 100_000, world)
    text = "\n".join([*comments(translated), *banner(Recipe.model_validate(translated.values), 100_000, world)])
    assert f"accumulation) = {128 * world}" in text
    assert (f"on each of {world} processes, 512 in all" in text) == (world == 4)
