"""`camelid plugins list|doctor|new`."""

from __future__ import annotations

from typing import Annotated

import typer

from camelid_core.plugins import load_host

from .output import print_rows
from .plugins_new import KindHelp, new_plugin

app = typer.Typer(help="List plugins and find what is wrong with them.", no_args_is_help=True)
app.command("new", cls=KindHelp)(new_plugin)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_plugins(as_json: Json = False) -> None:
    """Installed plugins and what each provides."""
    host = load_host()
    rows = [
        {
            "plugin": plugin.name,
            "version": plugin.version,
            "gives": [name for names in host.provided_by(plugin.name).values() for name in names],
        }
        for plugin in host.plugins
    ]
    print_rows(rows, as_json)


@app.command()
def doctor(as_json: Json = False, verbose: Annotated[bool, typer.Option(help="Print tracebacks too.")] = False) -> None:
    """What is wrong with any plugin, and where. Exit code 1 if anything is."""
    host = load_host()
    problems = host.check()
    rows = [{"plugin": problem.plugin, "problem": problem.message} for problem in problems]
    if as_json:
        details = {"detail": [problem.detail for problem in problems]} if verbose else {}
        print_rows([{**row, **{k: v[i] for k, v in details.items()}} for i, row in enumerate(rows)], True)
    else:
        print_rows(rows, False, empty=f"All {len(host.plugins)} plugins are sound.")
        for note in host.registry("camelid_notes"):
            typer.echo(f"\n{note.name}: {note.text}")
        for problem in problems if verbose else ():
            if problem.detail:
                typer.echo(f"\n{problem.plugin}:\n{problem.detail}")
    if problems:
        raise typer.Exit(1)
