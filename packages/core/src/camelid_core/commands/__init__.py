"""What the `camelid` program is made of: a name, one line of help, and where the code lives.

Knows how commands are described. Imports none of them: `camelid --help` must answer at once.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """`target` is `module:attribute` of a `typer.Typer`; with one command in it, that is the command
    itself, with several it is a group (`camelid jobs list`)."""

    name: str
    help: str
    target: str
