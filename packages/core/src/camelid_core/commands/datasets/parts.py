"""Arguments that several `camelid datasets` commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from camelid_core.datasets import Split
from camelid_core.errors import UsageError

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="Dataset name or file.")]


def split_named(text: str) -> Split:
    """Raises UsageError: neither train nor heldout."""
    if text not in ("train", "heldout"):
        raise UsageError(f"split {text!r} is not known; use train or heldout.")
    return "train" if text == "train" else "heldout"


def several(texts: list[str] | None) -> list[str]:
    """What a repeatable option was given, each with commas between if one likes: `--drop a,b --drop c`."""
    return [part.strip() for text in texts or () for part in text.split(",") if part.strip()]
