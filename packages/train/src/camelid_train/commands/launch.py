"""`camelid launch RECIPE --print TOOL`: the file with which another tool runs a recipe on machines of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from camelid_core.paths import safe_name

from camelid_train.launching.cluster_files import LaunchOptions, launch_file

from .train import read_recipe

app = typer.Typer(help="Write the file that runs a recipe on a cluster.")


@app.command()
def launch(
    recipe: Annotated[str, typer.Argument(help="A recipe (.toml, .yaml or .json), or a first override.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="section.field=value, for example launch.nodes=2.")
    ] = None,
    tool: Annotated[str, typer.Option("--print", help="Whose file: skypilot, dstack or slurm.")] = "",
    name: Annotated[str, typer.Option(help="Name of the run; empty takes the recipe's file name.")] = "",
    gpu: Annotated[str, typer.Option(help="Card for each process, as the tool calls it: L4, A100, H100.")] = "",
    storage: Annotated[
        str, typer.Option(help="skypilot, dstack: volume that outlives the machines, for checkpoints and the result.")
    ] = "",
    home: Annotated[
        str, typer.Option(help="slurm: directory for checkpoints and the result, on a disk that all machines see.")
    ] = "",
    minutes: Annotated[int, typer.Option(min=0, help="Time limit in minutes.")] = 0,
    partition: Annotated[str, typer.Option(help="slurm: partition.")] = "",
    account: Annotated[str, typer.Option(help="slurm: account.")] = "",
    install: Annotated[
        str, typer.Option(help="Command that installs Camelid there; empty installs this version from PyPI.")
    ] = "",
) -> None:
    """Write the file that runs a recipe on a cluster, on standard output: nothing is started.

    Processes and machines are launch.processes and launch.nodes. Data files and models on this disk go along with
    skypilot and dstack; with slurm they must lie where all machines see them.
    """
    config = read_recipe(recipe, overrides or []).with_absolute_paths()
    if name:
        safe_name(name, "--name")
    stem = Path(recipe).stem if "=" not in recipe else ""
    options = LaunchOptions(name or stem, gpu, storage, partition, account, minutes, home, install)
    typer.echo(launch_file(tool, config, options), nl=False)
