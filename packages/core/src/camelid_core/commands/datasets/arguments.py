"""Arguments that several `camelid datasets` commands share."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from camelid_core.datasets.dataset import Split
from camelid_core.errors import UsageError

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="Dataset name or file.")]


def parse_split(text: str) -> Split:
    """Raises UsageError: neither train nor heldout."""
    if text not in ("train", "heldout"):
        raise UsageError(f"split {text!r} is not known; use train or heldout.")
    return "train" if text == "train" else "heldout"


def refuse_to_overwrite(out: Path | None, sources: Iterable[str]) -> None:
    """Inputs are never overwritten. `sources` may also name datasets.

    Raises:
        UsageError: `out` is one of the files.
    """
    for source in sources:
        same = False
        with suppress(OSError, ValueError):
            same = out is not None and out.samefile(source)
        if same:
            raise UsageError(f"{str(out)!r} is what is read; give another file.")


def split_values(texts: list[str] | None) -> list[str]:
    """The values of a repeatable option, each of which may hold several, separated by commas: `--drop a,b --drop c`."""
    return [part.strip() for text in texts or () for part in text.split(",") if part.strip()]
