"""`camelid datasets convert`: data files in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from camelid_core.datasets import open_source
from camelid_core.plugins import load_host
from camelid_core.writers import write_alpaca

from .parts import Name, split_named

app = typer.Typer()


@app.command()
def convert(
    name: Name,
    out: Annotated[Path, typer.Option(help="The .json or .jsonl file to write.")],
    rows: Annotated[int | None, typer.Option(min=1, help="At most this many rows.")] = None,
    split: Annotated[str, typer.Option(help="train or heldout.")] = "train",
) -> None:
    """Write a dataset as Alpaca JSON (.json) or JSON Lines (.jsonl)."""
    dataset = open_source(name, load_host().datasets)
    count = write_alpaca(dataset.load(split_named(split), rows), out)
    typer.echo(f"{count:,} rows written to {out}")
