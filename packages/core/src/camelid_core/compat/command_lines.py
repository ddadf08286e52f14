"""A command line of Camelid that another tool's command line means: printed with remarks, or run.

Knows the program's commands by name. Knows no other tool.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

import typer

from camelid_core.cli import load_command
from camelid_core.plugins import load_host


@dataclass(slots=True)
class CommandLine:
    """What to type after `camelid`, what to say about it, and the flags that nobody knew."""

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
    """Print the line under its remarks; with `run` do what it says, the remarks going to stderr."""
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
