"""`camelid plugins settings`: what plugins can be set up with, and setting it up.

Knows the command line. What is stored, and how, is `camelid_core.plugin_settings`.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from camelid_core.errors import UnknownName, UsageError
from camelid_core.plugin_settings import PluginSettings
from camelid_core.plugins import load_host

from .output import print_rows

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_ASK = "-"


def settings(
    name: Annotated[str, typer.Argument(help="A plugin with settings; without one, all that have any.")] = "",
    values: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FIELD=VALUE]…", help="Values to store; FIELD=- asks for one and does not show it."),
    ] = None,
    unset: Annotated[list[str] | None, typer.Option(help="A field whose stored value is deleted; repeatable.")] = None,
    as_json: Json = False,
) -> None:
    """A plugin's settings: each with its value, where that comes from, and what it is. FIELD=VALUE stores one."""
    registry = load_host().registry("camelid_settings")
    if not name:
        rows = [{"plugin": each.name, "settings": list(each.config.model_fields)} for each in registry]
        print_rows(rows, as_json, empty="No installed plugin has settings.")
        return
    short = name.removeprefix("camelid-")
    if short not in registry:
        raise UnknownName("plugin with settings", short, registry.names(), "camelid plugins settings")
    chosen: PluginSettings[Any] = registry[short]
    if values or unset:
        chosen.save(dict(_parsed(chosen, text) for text in values or ()), unset or ())
    rows = [asdict(each) for each in chosen.show()]
    if as_json:
        print_rows(rows, True)
        return
    print_rows([{each: row[each] for each in ("name", "value", "source", "allowed", "help")} for row in rows], False)
    typer.echo(f"\nThe environment overrides them: {rows[0]['variable']}=…" if rows else "")


def _parsed(chosen: PluginSettings[Any], text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"{name!r}: write FIELD=VALUE; fields are {', '.join(chosen.config.model_fields)}.")
    if value == _ASK:
        value = typer.prompt(f"{chosen.name} {name}", hide_input=True)
    return name.strip(), chosen.parsed(name.strip(), value)
