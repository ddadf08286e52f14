"""`camelid datasets list|show`: what there is, and its first rows."""

from __future__ import annotations

import json
from itertools import islice
from typing import Annotated

import typer

from camelid_core.commands.output import show
from camelid_core.datasets import open_source
from camelid_core.plugins import load_host

from .parts import Json, Name, split_named

app = typer.Typer()


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
    for record in islice(dataset.load(split_named(split), rows), rows):
        messages = [
            {"role": m.role, "content": m.content, **({"context": m.context} if m.context else {})}
            for m in record.messages
        ]
        typer.echo(json.dumps({"id": record.id, "messages": messages, "tags": record.tags}, ensure_ascii=False))
