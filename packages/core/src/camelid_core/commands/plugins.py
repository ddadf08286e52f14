"""`camelid plugins list|show|doctor|settings|new`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from camelid_core.errors import UnknownName
from camelid_core.plugin_host.origins import origin_of
from camelid_core.plugin_host.selection import spellings
from camelid_core.plugins import Host, Plugin, load_host

from . import plugin_settings
from .output import print_rows, print_values
from .plugins_new import KindHelp, new_plugin

app = typer.Typer(help="List plugins, set them up, find what is wrong with them, and begin one.", no_args_is_help=True)
app.command("new", cls=KindHelp)(new_plugin)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

app.command("settings")(plugin_settings.settings)


@app.command("list")
def list_plugins(as_json: Json = False) -> None:
    """Installed plugins: where each came from and what it adds."""
    host = load_host()
    if as_json:
        left_out = [{"plugin": name, "left_out_by": host.exclusion} for name in host.excluded]
        print_rows([*(_facts(plugin, host) for plugin in host.plugins), *left_out], True)
        return
    rows = [_row(plugin, host) for plugin in host.plugins]
    print_rows(rows, False)
    if host.exclusion:
        typer.echo(f"\n{host.exclusion} leaves out {', '.join(host.excluded) or 'no installed plugin'}.")
    if host.problems:
        names = ", ".join(dict.fromkeys(problem.plugin for problem in host.problems))
        typer.echo(f"\nProblems with {names}: `camelid plugins doctor`.", err=True)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A plugin, as `camelid plugins list` shows it.")], as_json: Json = False
) -> None:
    """One plugin: where it came from, what it needs, and everything it adds, by hook."""
    host = load_host()
    plugin = _plugin_named(name, host)
    facts = _facts(plugin, host)
    if not as_json:
        adds = facts.pop("adds")
        facts.pop("gives")
        facts |= {_word(hook, len(names)): names for hook, names in adds.items()}
    problems = [problem.message for problem in host.check() if problem.plugin == plugin.name]
    print_values(facts | {"problems": problems}, as_json)


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
        _print_report(host, rows, verbose)
    if problems:
        raise typer.Exit(1)


def _print_report(host: Host, rows: Sequence[Mapping[str, Any]], verbose: bool) -> None:
    print_rows(rows, False, empty=f"All {len(host.plugins)} plugins are sound.")
    for warning in host.warnings:
        typer.echo(f"\n{warning.plugin}: slow: {warning.message}")
    if host.exclusion:
        typer.echo(f"\n{host.exclusion} leaves out {', '.join(host.excluded) or 'no installed plugin'}.")
    for note in host.registry("camelid_notes"):
        typer.echo(f"\n{note.name}: {note.text}")
    for problem in host.problems if verbose else ():
        if problem.detail:
            typer.echo(f"\n{problem.plugin}:\n{problem.detail}")


def _row(plugin: Plugin, host: Host) -> dict[str, Any]:
    origin, provided = origin_of(plugin), host.provided_by(plugin.name)
    adds = [f"{len(names)} {_word(hook, len(names))}" for hook, names in provided.items()]
    return {
        "plugin": plugin.name,
        "version": plugin.version,
        "from": f"{origin.source} {origin.location}",
        "adds": adds,
    }


def _facts(plugin: Plugin, host: Host) -> dict[str, Any]:
    """Everything about a plugin; `gives` are the names in `adds` without their hooks."""
    origin, provided = origin_of(plugin), host.provided_by(plugin.name)
    return {
        "plugin": plugin.name,
        "version": plugin.version,
        "summary": origin.summary,
        "source": origin.source,
        "location": origin.location,
        "entry_point": origin.entry_point,
        "requires": list(origin.requires),
        "import_seconds": round(plugin.seconds, 3),
        "gives": [name for names in provided.values() for name in names],
        "adds": provided,
    }


def _word(hook: str, count: int) -> str:
    words = hook.removeprefix("camelid_").replace("_", " ")
    return re.sub("ie$", "y", words.removesuffix("s")) if count == 1 else words


def _plugin_named(name: str, host: Host) -> Plugin:
    named = {plugin.name: plugin for plugin in host.plugins}
    for spelling in spellings(name):
        if spelling in named:
            return named[spelling]
    raise UnknownName("plugin", spellings(name)[-1], named, "camelid plugins list")
