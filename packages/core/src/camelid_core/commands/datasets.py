"""`camelid datasets list|show|convert`."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from camelid_core.datasets import Split, open_source
from camelid_core.errors import UsageError
from camelid_core.plugins import load_host
from camelid_core.writers import write_alpaca

from .output import show

app = typer.Typer(help="List, show and convert datasets.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="Dataset name or file.")]


@app.command("list")
def list_datasets(
    as_json: Json = False, lang: Annotated[str, typer.Option(help="Only with this language.")] = ""
) -> None:
    """Datasets that can be named in a recipe."""
    rows = [
        {
            "dataset": item.name,
            "rows": item.rows,
            "languages": list(item.languages),
            "licence": item.licence,
            "tags": list(item.tags),
            "help": item.help,
        }
        for item in load_host().datasets
        if not lang or lang in item.languages
    ]
    show(rows, as_json)


@app.command("show")
def show_dataset(
    name: Name,
    rows: Annotated[int, typer.Option(min=1, max=1000, help="How many rows.")] = 3,
    split: Annotated[str, typer.Option(help="train or heldout.")] = "train",
) -> None:
    """The first rows, one JSON object each."""
    dataset = open_source(name, load_host().datasets)
    for record in islice(dataset.load(_split(split), rows), rows):
        messages = [
            {"role": m.role, "content": m.content, **({"context": m.context} if m.context else {})}
            for m in record.messages
        ]
        typer.echo(json.dumps({"id": record.id, "messages": messages, "tags": record.tags}, ensure_ascii=False))


@app.command()
def convert(
    name: Name,
    out: Annotated[Path, typer.Option(help="The .json or .jsonl file to write.")],
    rows: Annotated[int | None, typer.Option(min=1, help="At most this many rows.")] = None,
    split: Annotated[str, typer.Option(help="train or heldout.")] = "train",
) -> None:
    """Write a dataset as Alpaca JSON (.json) or JSON Lines (.jsonl)."""
    dataset = open_source(name, load_host().datasets)
    count = write_alpaca(dataset.load(_split(split), rows), out)
    typer.echo(f"{count:,} rows written to {out}")


def _split(text: str) -> Split:
    if text not in ("train", "heldout"):
        raise UsageError(f"split {text!r} is not known; use train or heldout.")
    return "train" if text == "train" else "heldout"
