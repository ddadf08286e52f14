"""Descriptions of the `camelid` program's commands: a name, one line of help, and an import path.

Knows how commands are described. Imports none of them: `camelid --help` must be fast.
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
