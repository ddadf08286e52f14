"""`camelid launch --print`: what the files say, and what the shell in them does."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from camelid_core.config import load
from camelid_core.errors import UsageError
from camelid_core.testing import write_jsonl
from camelid_train.config import Recipe
from camelid_train.launching.cluster_files import LaunchOptions, launch_file

OPTIONS = LaunchOptions(name="My run!", gpu="L4", storage="disk", minutes=90, install="pip install ./camelid")
PROGRAM = """#!/bin/bash
echo "$(basename "$0") $* | $MASTER_ADDR $NODE_RANK $CAMELID_HOME" >> "$CALLS"
case "$(basename "$0") $*" in
  scontrol*) echo first; echo second ;;
  srun*) for rank in 0 1; do SLURM_NODEID=$rank bash -c "${@: -1}" || exit; done ;;
  "camelid train"*) touch "$CAMELID_HOME/jobs.sqlite3" ;;
esac
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    rows = write_jsonl(tmp_path / "my rows.jsonl", [{"instruction": "a", "output": "b"}])
    return Recipe.model_validate(
        {
            "data": {"sources": [f"{rows}:2.0+cot-arithmetic-en", "cot-arithmetic-zh:0.5"]},
            "train": {"max_steps": 7, "output": str(tmp_path / "out")},
            "launch": {"nodes": 2, "processes": 4, "executor": "ray"},
        }
    )


def test_skypilot_gets_machines_files_a_volume_and_ranks(recipe, tmp_path):
    values = yaml.safe_load(launch_file("skypilot", recipe, OPTIONS))
    assert (values["name"], values["num_nodes"], values["resources"]) == ("my-run", 2, {"accelerators": "L4:4"})
    assert values["file_mounts"] == {"/camelid-data/0-my rows.jsonl": str(tmp_path / "my rows.jsonl")}
    assert values["volumes"] == {"/camelid": "disk"}
    assert "pip install ./camelid" in values["setup"]
    assert '"/camelid-data/0-my rows.jsonl:2.0+cot-arithmetic-en", "cot-arithmetic-zh:0.5"' in values["run"]
    assert "$SKYPILOT_NODE_IPS" in values["run"]
    assert str(tmp_path) not in values["run"]


def test_dstack_gets_the_same(recipe, tmp_path):
    values = yaml.safe_load(launch_file("dstack", recipe, OPTIONS))
    assert (values["type"], values["nodes"], values["resources"]) == ("task", 2, {"gpu": "L4:4"})
    assert values["files"] == [f"{tmp_path / 'my rows.jsonl'}:/camelid-data/0-my rows.jsonl"]
    assert (values["volumes"], values["max_duration"]) == (["disk:/camelid"], "90m")
    assert values["commands"][0] == "pip install ./camelid"
    assert "$DSTACK_MASTER_NODE_IP" in values["commands"][1]


@pytest.mark.parametrize("tool", ["skypilot", "dstack"])
def test_what_is_lost_is_said(recipe, tool):
    text = launch_file(tool, recipe, LaunchOptions())
    assert "Results are lost with the machines" in text
    assert "No GPU" in text


@pytest.mark.parametrize("tool", ["skypilot", "dstack"])
def test_the_recipe_in_it_is_the_recipe(recipe, tool, tmp_path):
    values = yaml.safe_load(launch_file(tool, recipe, OPTIONS))
    shell = values["run"] if tool == "skypilot" else values["commands"][1]
    inside = tmp_path / "inside.toml"
    inside.write_text(shell.split("<<'RECIPE'\n")[1].split("\nRECIPE\n")[0])
    found = load(Recipe, inside, [])
    assert found.train.max_steps == 7
    assert (found.launch.nodes, found.launch.processes, found.launch.executor) == (2, 4, "local")
    assert found.model_dump(exclude={"data", "train", "launch"}) == recipe.model_dump(
        exclude={"data", "train", "launch"}
    )


def test_slurm_runs_the_recipe_on_every_machine_and_goes_on_when_it_is_submitted_again(recipe, tmp_path, monkeypatch):
    for name in ("camelid", "srun", "scontrol"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(PROGRAM)
        program.chmod(0o755)
    home = tmp_path / "shared disk"
    text = launch_file(
        "slurm", recipe, LaunchOptions(name="r", gpu="a100", minutes=90, home=str(home), partition="gpu")
    )
    assert {"#SBATCH --nodes=2", "#SBATCH --gpus-per-node=a100:4", "#SBATCH --partition=gpu"} < set(text.splitlines())
    script = tmp_path / "run.sh"
    script.write_text(text)
    calls = tmp_path / "calls"
    environment = os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "CALLS": str(calls), "SLURM_JOB_NODELIST": "x[1-2]",
        "NODE_RANK": "", "MASTER_ADDR": "", "CAMELID_HOME": "",
    }  # fmt: skip

    def submitted() -> list[str]:
        calls.write_text("")
        subprocess.run(["bash", script], env=environment, check=True, timeout=120)
        return [line for line in calls.read_text().splitlines() if line.startswith("camelid")]

    homes = [home / "r" / f"node-{rank}" for rank in (0, 1)]
    assert submitted() == [
        f"camelid train {place}/recipe.toml --name r | first {rank} {place}" for rank, place in enumerate(homes)
    ]
    again = [line.partition(" |")[0] for line in submitted()]
    assert again == ["camelid jobs list", "camelid jobs retry 1", "camelid jobs retry 1 --here"] * 2


def test_what_is_needed_and_not_given_is_said(recipe):
    with pytest.raises(UsageError, match="--home DIRECTORY"):
        launch_file("slurm", recipe, LaunchOptions(minutes=5))
    with pytest.raises(UsageError, match="--minutes N"):
        launch_file("slurm", recipe, LaunchOptions(home="/shared"))
    with pytest.raises(UsageError, match="one of skypilot, dstack, slurm"):
        launch_file("k8s", recipe, LaunchOptions())
