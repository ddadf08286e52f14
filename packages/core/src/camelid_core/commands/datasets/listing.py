"""`camelid datasets list|show|fetch`: list datasets, describe one, download its files."""

from __future__ import annotations

import json
from itertools import islice
from typing import Annotated

import typer

from camelid_core.commands.output import ProgressPrinter, print_rows
from camelid_core.datasets.dataset import Dataset
from camelid_core.datasets.sources import all_datasets, open_dataset
from camelid_core.errors import UsageError
from camelid_core.plugins import load_host

from .arguments import Json, Name, parse_split
from .chart import chart
from .descriptions import TAG_MEANINGS, dataset_json, dataset_summary, languages, listing_row, matches, record_json
from .progress_meter import progress_in_megabytes

app = typer.Typer()


@app.command("list")
def list_datasets(
    as_json: Json = False,
    lang: Annotated[str, typer.Option(help="Only with this language: EN, CN, ML, or a code such as zh.")] = "",
    task: Annotated[str, typer.Option(help="Only these tasks: MT (several) or TS (one).")] = "",
    gen: Annotated[str, typer.Option(help="Only made this way: HG, SI, MIX or COL.")] = "",
    collection: Annotated[str, typer.Option(help="Only from this collection, alpaca-cot for example.")] = "",
    here: Annotated[bool, typer.Option("--here", help="Only what is on this machine.")] = False,
    as_chart: Annotated[bool, typer.Option("--chart", help="Draw the relative sizes.")] = False,
) -> None:
    """Datasets that can be named in a recipe."""
    found = [
        item
        for item in all_datasets(load_host().datasets)
        if matches(languages(item), lang)
        and matches(item.task, task)
        and matches(item.generation, gen)
        and (not collection or item.collection == _collection(collection))
        and not (here and item.missing())
    ]
    if as_chart:
        chart(found)
    elif as_json:
        print_rows([dataset_json(item) for item in found], as_json=True)
    else:
        print_rows([listing_row(item) for item in found], as_json=False)
        _legend(found)


@app.command("show")
def show_dataset(
    name: Name,
    rows: Annotated[int, typer.Option(min=1, max=1000, help="How many rows.")] = 3,
    split: Annotated[str, typer.Option(help="train or heldout.")] = "train",
    as_json: Json = False,
) -> None:
    """Describe a dataset and show its first rows if they are on this machine; of a collection, the relative sizes."""
    part = parse_split(split)
    members = [item for item in load_host().datasets if item.collection and item.collection == _collection(name)]
    if members and name not in load_host().datasets:
        print_rows([dataset_json(item) for item in members], as_json=True) if as_json else chart(members)
        return
    dataset = open_dataset(name, load_host().datasets)
    first = [] if dataset.missing() else [record_json(item) for item in islice(dataset.load(part, rows), rows)]
    if as_json:
        typer.echo(
            json.dumps({**dataset_json(dataset), **dataset.facts(), "first": first}, ensure_ascii=False, indent=2)
        )
        return
    typer.echo("\n".join(dataset_summary(dataset)), err=True)  # so that what is piped on is rows and nothing else
    for row in first:
        typer.echo(json.dumps(row, ensure_ascii=False))


@app.command()
def fetch(
    name: Name,
    revision: Annotated[str, typer.Option(help="Branch, tag or commit; the pinned one if not given.")] = "",
) -> None:
    """Download a dataset's files. An interrupted download is resumed."""
    dataset = open_dataset(name, load_host().datasets)
    if dataset.fetch is None:
        raise UsageError(f"dataset {dataset.name!r} has nothing to fetch. {dataset.missing() or 'It is here.'}")
    printer = ProgressPrinter()
    try:
        files = dataset.fetch(revision, progress_in_megabytes(printer))
    finally:
        printer.close()
    for path in files:
        typer.echo(str(path))


def _collection(name: str) -> str:
    return name.removesuffix("-collection")


def _legend(found: list[Dataset]) -> None:
    """What the tags mean, for a person at a terminal."""
    tags = dict.fromkeys(tag for item in found for text in (item.task, item.generation) for tag in text.split("/"))
    meanings = [f"{tag} {TAG_MEANINGS[tag]}" for tag in tags if tag in TAG_MEANINGS]
    if meanings:
        typer.echo("; ".join(meanings) + ".", err=True)
