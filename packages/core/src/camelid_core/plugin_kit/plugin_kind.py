"""`PluginKind`: one kind of thing that a plugin can add, and what `camelid plugins new` needs to begin one.

Knows what every kind has. Knows no kind: the package that has the hook describes its kinds, through a hook too.
"""

from __future__ import annotations

from dataclasses import dataclass

from camelid_core.plugins import load_host
from camelid_core.registry import Registry


@dataclass(frozen=True, slots=True)
class PluginKind:
    """`name` is what `--kind` takes; `help` says in a sentence what such a plugin adds; `hook` is how it gives that.

    `skeleton` is the folder with the files of its own, as `package:folder`. `needs` are the distributions of ours that
    it depends on, and `test_needs` what its tests need beside them, as requirements. `listing` is the command that
    shows what was added. `reserved` are names that no plugin may give, beside those that are given.
    """

    name: str
    help: str
    hook: str
    skeleton: str
    listing: str
    needs: tuple[str, ...] = ("camelid-core",)
    test_needs: tuple[str, ...] = ()
    reserved: tuple[str, ...] = ()


def plugin_kinds() -> Registry[PluginKind]:
    """The kinds of every installed package by name."""
    return load_host().registry("camelid_plugin_kinds")
