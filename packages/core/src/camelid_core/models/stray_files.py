"""Files that a model's directory must not hold: pipes, devices, cyclic links, and links to text files outside of it.

Knows types of files and targets of links. Opens nothing: opening a pipe blocks for ever, and a device may be endless.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from camelid_core.errors import ModelError

_TEXT_SUFFIXES = (".json", ".jinja", ".txt", ".model")
_WEIGHT_SUFFIXES = (".safetensors", ".gguf")
_TEMPLATE_DIRECTORY = "additional_chat_templates"


def refuse_stray_files(model: Path) -> None:
    """Raise ModelError for the first such thing among the files that are read with a model; for a GGUF file these are
    the texts beside it.

    A text from elsewhere would go into whatever is made from the model, and with it to whoever gets that. Weights may
    lie elsewhere, being large; and a snapshot in the Hub's cache has its files among the cache's blobs. A link to
    nothing counts as no file, but for weights, without which there is no model.
    """
    for path in sorted(_files_read_with(model)):
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            if path.suffix.lower() != ".safetensors":
                continue
            raise ModelError(f"{str(path)!r} is a link to nothing: its weights are gone. Fetch them again.") from None
        except OSError as error:
            raise ModelError(f"{str(path)!r} cannot be read: {error.strerror}. Remove it, or copy it anew.") from None
        if not (stat.S_ISREG(mode) or (stat.S_ISDIR(mode) and path.suffix.lower() not in _WEIGHT_SUFFIXES)):
            raise ModelError(f"{str(path)!r} is no file, but a directory, a pipe or a device. Remove it.")
        if path.is_symlink() and path.suffix.lower() not in _WEIGHT_SUFFIXES and not _stays_inside(path):
            raise ModelError(
                f"{str(path)!r} is a link out of its directory, to {str(path.resolve())!r}, whose text would go into "
                "all that is made from this model. If it belongs to the model, copy it there."
            )


def _files_read_with(model: Path) -> Iterator[Path]:
    if model.is_file():
        yield from model.parent.glob("*token*.json")
        yield from (model.with_name(name) for name in ("config.json", "chat_template.jinja"))
        return
    for path in model.iterdir():
        if path.name == _TEMPLATE_DIRECTORY:
            yield path
            yield from path.iterdir() if path.is_dir() else ()
        elif path.suffix.lower() in (*_TEXT_SUFFIXES, *_WEIGHT_SUFFIXES):
            yield path


def _stays_inside(link: Path) -> bool:
    """Whether it leads to a file of the same directory, or of the Hub's cache that the directory is part of."""
    homes = [link.parent, *(each.parent / "blobs" for each in link.parents if each.name == "snapshots")]
    return any(link.resolve().is_relative_to(home.resolve()) for home in homes)
