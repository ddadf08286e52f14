"""`camelid plugins new NAME --kind KIND`: begin a plugin."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from camelid_core.errors import UsageError
from camelid_core.plugin_kit.plugin_kind import plugin_kinds
from camelid_core.plugin_kit.plugin_name import check_item, checked_name
from camelid_core.plugin_kit.skeleton import write_plugin
from camelid_core.plugins import load_host


class KindHelp(TyperCommand):
    """A command whose help ends with the kinds that the installed packages offer."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Kinds"):
            formatter.write_dl([(kind.name, kind.help) for kind in plugin_kinds()])


def new_plugin(
    name: Annotated[str, typer.Argument(help="Name of the distribution, such as camelid-haiku.")],
    kind: Annotated[str, typer.Option(help="What it adds; below are the kinds that are installed.")] = "",
    out: Annotated[Path, typer.Option(help="Directory in which NAME is made.")] = Path(),
) -> None:
    """Write a plugin that works: a distribution with one small thing of its kind, tests that pass, and a README."""
    kinds = plugin_kinds()
    if not kind:
        raise UsageError(f"say what it adds: --kind {' or --kind '.join(kinds.names())}.")
    chosen, host, checked = kinds[kind], load_host(), checked_name(name)
    check_item(checked, host.registry(chosen.hook), chosen.name, chosen.reserved)
    version = next(plugin.version for plugin in host.plugins if plugin.name == "camelid-core")
    written = write_plugin(chosen, checked, out / name, version)
    folder = os.path.relpath(out / name)
    place = folder if folder.startswith("..") else f"./{folder}"
    typer.echo(f"{place} has {len(written)} files:\n")
    for path in written:
        typer.echo(f"  {path.relative_to(out / name)}")
    install = f"pip install -e {shlex.quote(place + '[test]')}"
    typer.echo(f"\nType next:\n\n  {install}\n  pytest {shlex.quote(place)}\n  {chosen.listing}\n")
    typer.echo(f"{place}/README.md says where to go on.")
