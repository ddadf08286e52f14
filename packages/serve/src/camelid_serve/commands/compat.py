"""`camelid compat generate|server|predict|web …`: another tool's command lines, read as Camelid's."""

from __future__ import annotations

from typing import Annotated

import typer
from camelid_core.compat.command_lines import show_or_run

from camelid_serve.compat.scripts import read

Run = Annotated[bool, typer.Option("--run", help="Run the command instead of printing it.")]


def generate(context: typer.Context, run: Run = False) -> None:
    show_or_run(read("generate", context.args), run)


def server(context: typer.Context, run: Run = False) -> None:
    show_or_run(read("server", context.args), run)


def predict(context: typer.Context, run: Run = False) -> None:
    show_or_run(read("predict", context.args), run)


def web(context: typer.Context, run: Run = False) -> None:
    show_or_run(read("web", context.args), run)
