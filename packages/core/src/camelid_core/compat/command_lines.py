"""A command line of Camelid that is equivalent to another tool's: printed with remarks, or run.

Knows the program's commands by name. Knows no other tool.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, field

import typer

from camelid_core.cli import load_command, main
from camelid_core.plugins import load_host


@dataclass(slots=True)
class CommandLine:
    """The words after `camelid`, notes on the translation, and the unknown flags of the other tool."""

    tool: str
    words: list[str]
    notes: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def remarks(self) -> list[str]:
        if not self.unknown:
            return self.notes
        return [*self.notes, f"Ignored, because {self.tool} has no such flag: {' '.join(self.unknown)}"]

    def __str__(self) -> str:
        return shlex.join(["camelid", *self.words])


def show_or_run(line: CommandLine, run: bool) -> None:
    """Print the command line after its remarks; with `run` also run it, with the remarks on stderr."""
    for remark in line.remarks:
        typer.echo("# " + "".join(sign if sign.isprintable() else " " for sign in remark), err=run)
    if not run:
        typer.echo(str(line))
        return
    typer.echo(str(line), err=True)
    name, *words = line.words
    command = load_command(load_host().commands[name])
    code = command.main(args=words, prog_name=f"camelid {name}", standalone_mode=False)
    if isinstance(code, int) and code:
        raise typer.Exit(code)


def train_as_script(tool: str) -> None:
    """`camelid compat TOOL --train` with this process's arguments: for launchers that are given a Python module."""
    sys.argv[1:1] = ["compat", tool, "--train"]
    main()
