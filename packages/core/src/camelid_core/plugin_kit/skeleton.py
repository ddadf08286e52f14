"""A plugin's first files, from the skeleton of its kind: text with `$name` where the plugin's own names go.

Knows folders and names. Knows no kind. Files that all kinds share lie in `camelid_core/skeletons/shared`; the folder
of a kind adds its own, and `usage.md`, the part of the README that says how to try it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from camelid_core.errors import UsageError

from .plugin_kind import PluginKind
from .plugin_name import PluginName

_SHARED = "camelid_core:skeletons/shared"
_SUFFIX = ".tmpl"
_MODULE = "MODULE"
_USAGE = "usage.md"


def write_plugin(kind: PluginKind, name: PluginName, directory: Path, version: str) -> list[Path]:
    """Write the plugin into `directory`, which must not exist; returns its files. `version` is that of Camelid.

    Raises:
        UsageError: `directory` exists, or cannot be made.
    """
    texts = plugin_files(kind, name, version)
    try:
        directory.mkdir(parents=True)
    except FileExistsError:
        raise UsageError(f"{str(directory)!r} exists; nothing was written. Choose another name or --out.") from None
    except OSError as error:
        raise UsageError(f"{str(directory)!r} cannot be made: {error.strerror}. Choose another --out.") from None
    for place, text in texts.items():
        path = directory / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return [directory / place for place in texts]


def plugin_files(kind: PluginKind, name: PluginName, version: str) -> dict[str, str]:
    """The files of a new plugin: path → text. Sorted, so that a listing reads as a directory does."""
    shared, own = dict(_templates(_SHARED)), dict(_templates(kind.skeleton))
    values = _values(kind, name, version)
    values["usage"] = Template(own.pop(_USAGE)).substitute(values).strip()
    return {
        place.replace(_MODULE, name.module): Template(text).substitute(values)
        for place, text in sorted((shared | own).items())
    }


def _values(kind: PluginKind, name: PluginName, version: str) -> dict[str, str]:
    bounds = _compatible(version)
    return {
        "name": name.distribution,
        "module": name.module,
        "item": name.item,
        "label": name.item.replace("-", " ").capitalize(),
        "kind": kind.name,
        "help": kind.help.rstrip("."),
        "hook": kind.hook,
        "listing": kind.listing,
        "dependencies": _quoted(f"{need}{bounds}" for need in kind.needs),
        "test_dependencies": _quoted(("pytest>=8", *kind.test_needs)),
    }


def _compatible(version: str) -> str:
    """The releases that have the hooks of `version`: `>=0.1,<0.2` for 0.1.7, `>=2.3,<3` for 2.3.0 (docs/plugins.md)."""
    major, minor = (int(part) for part in version.split(".")[:2])
    return f">={major}.{minor},<{major + 1}" if major else f">=0.{minor},<0.{minor + 1}"


def _quoted(requirements: Iterable[str]) -> str:
    return ", ".join(f'"{each}"' for each in requirements)


def _templates(folder: str) -> Iterator[tuple[str, str]]:
    """Every file below `folder`, as `package:folder`: its place in the plugin, and its text."""
    package, _, inside = folder.partition(":")
    yield from _below(files(package).joinpath(*inside.split("/")), "")


def _below(folder: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _below(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(_SUFFIX):
            yield prefix + entry.name.removesuffix(_SUFFIX), entry.read_text(encoding="utf-8")
