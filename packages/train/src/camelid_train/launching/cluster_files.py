"""A recipe as the file that another tool takes to run it on machines of its own: SkyPilot, dstack, Slurm's sbatch.

Knows those tools' fields and the variables that they set on each machine. Starts nothing. What the file runs is what a
person would type on each machine, and typing it again goes on from the last checkpoint.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from camelid_core.datasets.dataset import Source
from camelid_core.errors import UsageError
from camelid_core.paths import is_existing_path

from camelid_train.config import Recipe
from camelid_train.toml import to_toml

PLACE = "/camelid"
"""Where storage that outlives the machines is mounted."""
_DATA = f"{PLACE}-data"
_RECIPE = "recipe.toml"
_NAME = re.compile(r"[^a-z0-9-]+")
_MAX_NAME = 40


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """What a recipe does not say: `gpu` is a card's name, `storage` the name of a volume that outlives the machines,
    `home` the directory on the cluster's shared disk, `minutes` the time limit, `install` the command that installs."""

    name: str = ""
    gpu: str = ""
    storage: str = ""
    partition: str = ""
    account: str = ""
    minutes: int = 0
    home: str = ""
    install: str = ""


def launch_file(tool: str, recipe: Recipe, options: LaunchOptions) -> str:
    """The file's text. `recipe` has absolute paths.

    Raises:
        UsageError: no such tool, or something that this tool needs is not given.
    """
    if tool not in TOOLS:
        raise UsageError(f"--print is {tool!r}; it is one of {', '.join(TOOLS)}.")
    return TOOLS[tool](recipe, options)


def _skypilot(recipe: Recipe, options: LaunchOptions) -> str:
    launch = recipe.launch
    there, files = _with_mounted_files(recipe)
    values: dict[str, Any] = {"name": _name(options), "num_nodes": launch.nodes}
    if options.gpu:
        values["resources"] = {"accelerators": f"{options.gpu}:{launch.processes}"}
    if files:
        values["file_mounts"] = {place: str(path) for path, place in files.items()}
    if options.storage:
        values["volumes"] = {PLACE: options.storage}
    values["setup"] = _Block(f"set -e\n{_install(options)}\n")
    ranks = [
        'export MASTER_ADDR="$(printf "%s\\n" "$SKYPILOT_NODE_IPS" | head -n1)"',
        'export NODE_RANK="$SKYPILOT_NODE_RANK"',
    ]
    values["run"] = _Block(_run(there, PLACE, options, ranks))
    head = _head("sky launch FILE", options, needs_gpu=True)
    return head + _yaml(values)


def _dstack(recipe: Recipe, options: LaunchOptions) -> str:
    launch = recipe.launch
    there, files = _with_mounted_files(recipe)
    values: dict[str, Any] = {"type": "task", "name": _name(options), "nodes": launch.nodes, "python": "3.12"}
    if files:
        values["files"] = [f"{path}:{place}" for path, place in files.items()]
    ranks = ['export MASTER_ADDR="$DSTACK_MASTER_NODE_IP"', 'export NODE_RANK="$DSTACK_NODE_RANK"']
    values["commands"] = [_install(options), _Block(_run(there, PLACE, options, ranks))]
    if options.storage:
        values["volumes"] = [f"{options.storage}:{PLACE}"]
    if options.gpu:
        values["resources"] = {"gpu": f"{options.gpu}:{launch.processes}"}
    if options.minutes:
        values["max_duration"] = f"{options.minutes}m"
    head = _head("dstack apply -f FILE", options, needs_gpu=True)
    return head + _yaml(values)


def _slurm(recipe: Recipe, options: LaunchOptions) -> str:
    launch = recipe.launch
    if not options.home:
        raise UsageError("--print slurm needs --home DIRECTORY, on a disk that all machines of the cluster see.")
    if not options.minutes:
        raise UsageError("--print slurm needs --minutes N, the time limit; before it the run saves.")
    directives = {
        "job-name": _name(options), "nodes": launch.nodes, "ntasks-per-node": 1, "time": options.minutes,
        "gpus-per-node": f"{options.gpu}:{launch.processes}" if options.gpu else "",
        "partition": options.partition, "account": options.account, "output": f"{options.home}/slurm-%j.txt",
    }  # fmt: skip
    lines = ["#!/bin/bash", _head("sbatch FILE", options).rstrip()]
    lines += [f"#SBATCH --{name}={value}" for name, value in directives.items() if value]
    lines += ["#SBATCH --signal=TERM@120", "#SBATCH --requeue", "set -euo pipefail"]
    lines += [
        'MASTER_ADDR="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n1)"',
        "export MASTER_ADDR",
        "# the install, once: " + _install(options),
        "read -r -d '' every_machine <<'EVERY_MACHINE' || true",
        _run(recipe, options.home, options, ['export NODE_RANK="$SLURM_NODEID"']).rstrip(),
        "EVERY_MACHINE",
        'srun --kill-on-bad-exit=1 bash -c "$every_machine"',
    ]
    return "\n".join(lines) + "\n"


TOOLS: Mapping[str, Callable[[Recipe, LaunchOptions], str]] = {
    "skypilot": _skypilot, "dstack": _dstack, "slurm": _slurm,
}  # fmt: skip


def _run(recipe: Recipe, root: str, options: LaunchOptions, ranks: list[str]) -> str:
    """The shell text for each machine. Each has a home of its own: a job table's locks do not hold over networks."""
    name = _name(options)
    lines = [
        "set -eu",
        *ranks,
        f'export CAMELID_HOME={shlex.quote(f"{root}/{name}")}/node-"$NODE_RANK"',
        'mkdir -p "$CAMELID_HOME"',
        f"cat > \"$CAMELID_HOME/{_RECIPE}\" <<'RECIPE'",
        _local(recipe).rstrip(),
        "RECIPE",
        'if [ -e "$CAMELID_HOME/jobs.sqlite3" ]; then',
        "  # it was stopped before, and goes on from its last checkpoint; what was killed is noticed after 30 s",
        "  camelid jobs list > /dev/null",
        "  camelid jobs retry 1 > /dev/null 2>&1 || { sleep 40; camelid jobs list > /dev/null; }",
        "  exec camelid jobs retry 1 --here",
        "fi",
        f'exec camelid train "$CAMELID_HOME/{_RECIPE}" --name {name}',
    ]
    return "\n".join(lines) + "\n"


def _local(recipe: Recipe) -> str:
    """The recipe's text, to be run where it stands: what differs from the defaults."""
    here = recipe.model_copy(update={"launch": recipe.launch.model_copy(update={"executor": "local"})})
    values, defaults = here.model_dump(mode="json"), Recipe().model_dump(mode="json")
    sections = {
        section: {
            name: value
            for name, value in fields.items()
            if name == "type" or section == "launch" or value != defaults.get(section, {}).get(name)
        }
        for section, fields in values.items()
    }
    return to_toml({section: fields for section, fields in sections.items() if fields})


def _with_mounted_files(recipe: Recipe) -> tuple[Recipe, dict[Path, str]]:
    """The recipe with the places of its files on the other machines, and those places by file here."""
    files: dict[Path, str] = {}

    def mounted(name: str) -> str:
        if not is_existing_path(name):
            return name
        path = Path(name).absolute()
        if path not in files:
            files[path] = f"{_DATA}/{len(files)}-{path.name}"
        return files[path]

    sources = [
        "+".join(
            mounted(part.name) + (f":{part.weight!r}" if part.weight != 1 else "")
            for part in (Source.parse(piece.strip()) for piece in text.split("+"))
        )
        for text in recipe.data.sources
    ]
    changed = {
        "data": recipe.data.model_copy(update={"sources": sources}),
        "model": recipe.model.model_copy(update={"name": mounted(recipe.model.name)}),
        "train": recipe.train.model_copy(update={"output": ""}),  # beside the checkpoints
    }
    return recipe.model_copy(update=changed), files


def _head(command: str, options: LaunchOptions, needs_gpu: bool = False) -> str:
    lines = [f"Made by `camelid launch`. `{command}` runs it; doing so again goes on from the last checkpoint."]
    if needs_gpu and not options.gpu:
        lines.append("No GPU: --gpu NAME, such as L4, asks for one for each process.")
    if needs_gpu and not options.storage:
        lines.append("Results are lost with the machines: --storage NAME mounts a volume that outlives them.")
    return "".join(f"# {line}\n" for line in lines)


def _install(options: LaunchOptions) -> str:
    packages = [f"{name}=={version(name)}" for name in ("camelid-core", "camelid-train")]
    return options.install or f"pip install {' '.join(packages)}"


def _name(options: LaunchOptions) -> str:
    return _NAME.sub("-", (options.name or "camelid-run").lower()).strip("-")[:_MAX_NAME].strip("-") or "camelid-run"


class _Block(str):
    """A text that YAML writes as a block."""


class _Dumper(yaml.SafeDumper):
    """Keeps texts readable."""


_Dumper.add_representer(
    _Block, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|")
)


def _yaml(values: Mapping[str, Any]) -> str:
    return yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
