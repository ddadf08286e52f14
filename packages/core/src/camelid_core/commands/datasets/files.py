"""`camelid datasets convert|inspect|add|remove`: data files in, out, and into the library.

Knows options and reports. Knows nothing of formats.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from camelid_core.commands.output import ProgressPrinter, print_values
from camelid_core.datasets import library, url_download
from camelid_core.datasets.dataset import Dataset
from camelid_core.datasets.sources import open_dataset
from camelid_core.datasets.url_policy import OWN_NETWORK, PUBLIC, UrlPolicy, split_url
from camelid_core.errors import DataError, UsageError
from camelid_core.integrity import sha256
from camelid_core.paths import is_existing_path, validated_path
from camelid_core.plugins import load_host
from camelid_core.readers import Columns, Detection, Faults, detect, read, uncompressed_name
from camelid_core.readers.text_values import listed
from camelid_core.records import Record
from camelid_core.writers import write

from .arguments import Json, Name, parse_split, refuse_to_overwrite
from .descriptions import record_json
from .progress_meter import progress_in_megabytes

app = typer.Typer()

File = Annotated[Path, typer.Argument(help="A data file: JSON, JSON Lines, CSV, TSV, Parquet or plain text.")]
ReaderName = Annotated[str, typer.Option("--reader", help="Format of the rows; told by their columns if not given.")]
Map = Annotated[
    str, typer.Option("--map", help="Which column holds what: instruction=question,output=answer, or text=content.")
]
Lenient = Annotated[bool, typer.Option("--lenient", help="Skip and count malformed rows; else the first one stops.")]
Seed = Annotated[int, typer.Option(help="For readers that choose among phrasings.")]
KeepEscapes = Annotated[bool, typer.Option("--keep-escapes", help="FLAN's files: keep a literal \\n as it is.")]


@app.command()
def convert(
    name: Name,
    out: Annotated[Path, typer.Option(help="File to write: .json, .jsonl, .csv, .tsv or .parquet.")],
    reader: ReaderName = "",
    mapping: Map = "",
    writer: Annotated[
        str, typer.Option(help="Format to write; if not given: alpaca, messages in Parquet, text for texts.")
    ] = "",
    lenient: Lenient = False,
    rows: Annotated[int | None, typer.Option(min=1, help="At most this many rows.")] = None,
    split: Annotated[str, typer.Option(help="train or heldout.")] = "train",
    seed: Seed = 0,
    keep_escapes: KeepEscapes = False,
) -> None:
    """Write a dataset or a data file in another format."""
    faults = Faults(strict=not lenient)
    path = validated_path(name, "dataset")
    is_file = is_existing_path(name) and path.is_file() and (reader or mapping or name not in load_host().datasets)
    if is_file:
        if parse_split(split) != "train":
            raise UsageError(f"{name!r} is a file and has no held-out part; leave --split out.")
        refuse_to_overwrite(out, [str(path)])
        records = read(path, reader, columns_of(mapping), faults, seed=seed, keep_escapes=keep_escapes)
    elif reader or mapping or keep_escapes:
        raise UsageError(
            f"{name!r} is no file; --reader, --map and --keep-escapes are for files. "
            f"`camelid datasets show {name}` says where its own are."
        )
    else:
        dataset = open_dataset(name, load_host().datasets)
        refuse_to_overwrite(out, [dataset.source])
        records = _records_of_dataset(dataset, split, rows)
    count = write(itertools.islice(records, rows), out, writer, faults)
    typer.echo(f"{count:,} rows written to {out}")
    print_faults(faults)


@app.command()
def inspect(
    file: File,
    reader: ReaderName = "",
    mapping: Map = "",
    rows: Annotated[int, typer.Option(min=0, max=1000, help="How many first rows to show.")] = 3,
    as_json: Json = False,
) -> None:
    """Show the detected format of a file and why, its first rows, and all malformed rows."""
    file = validated_path(file, "file")
    found = detect(file)
    faults = Faults(strict=False)
    columns = columns_of(mapping) or (found.proposed if not reader else None)
    first: list[Record] = []
    count = 0
    stopped = ""
    try:
        for count, record in enumerate(read(file, reader, columns, faults), 1):
            if count <= rows:
                first.append(record)
    except DataError as error:
        stopped = str(error)
    report = _report(file, found, reader, columns, as_json) | {
        "rows": count,
        "left_out": faults.total,
        "faults": dict(faults.counts.most_common()),
        "examples": faults.examples,
        "notes": faults.sentences(),
        "stopped": stopped,
        "first": [record_json(record) for record in first],
    }
    print_values(report, as_json)
    if stopped:
        raise typer.Exit(1)


@app.command()
def add(
    file: Annotated[
        str, typer.Argument(help="A data file, or its URL: JSON, JSON Lines, CSV, TSV, Parquet or plain text.")
    ],
    name: Annotated[str, typer.Option(help="Name of the dataset; the file's name if not given.")] = "",
    reader: ReaderName = "",
    mapping: Map = "",
    licence: Annotated[str, typer.Option(help="Under which licence the data are.")] = "unknown",
    lang: Annotated[str, typer.Option(help="Languages, separated by commas: en,zh.")] = "",
    lenient: Lenient = False,
    seed: Seed = 0,
    keep_escapes: KeepEscapes = False,
    own_network: Annotated[
        bool, typer.Option("--own-network", help="Of URLs: also http, and addresses of this machine and its network.")
    ] = False,
) -> None:
    """Put a data file into the library, in one format, so that recipes can name it. One at a URL is downloaded first;
    an interrupted download is resumed."""
    columns, faults = columns_of(mapping), Faults(strict=not lenient)
    from_url, policy = url_download.is_url(file), OWN_NETWORK if own_network else PUBLIC
    if from_url:
        split_url(file, policy)
    given = Path(url_download.file_name(file)) if from_url else validated_path(file, "file")
    name = name or uncompressed_name(given).stem
    library.refuse_taken(name)
    with _downloaded(file, policy) if from_url else nullcontext(given) as path:
        added = library.add(
            read(path, reader, columns, faults, seed=seed, keep_escapes=keep_escapes),
            name,
            licence=licence,
            languages=tuple(filter(None, (part.strip() for part in lang.split(",")))),
            source=url_download.noted_url(file) if from_url else str(path.absolute()),
            reader=mapping or reader or detect(path).reader,
            file_sha256=sha256(path),
        )
    typer.echo(f"{added.rows:,} rows added as {name!r}; a recipe may name it now.")
    print_faults(faults)


@app.command()
def remove(name: Annotated[str, typer.Argument(help="An added dataset.")]) -> None:
    """Delete an added dataset."""
    library.remove(name)
    typer.echo(f"{name!r} is removed.")


@contextmanager
def _downloaded(url: str, policy: UrlPolicy) -> Iterator[Path]:
    printer = ProgressPrinter()
    with closing(printer), url_download.downloaded(url, progress_in_megabytes(printer), policy) as path:
        yield path


def columns_of(mapping: str) -> Columns | None:
    return Columns.parse(mapping) if mapping else None


def print_faults(faults: Faults) -> None:
    """Print what was changed and what was skipped, to standard error."""
    for sentence in faults.sentences():
        typer.echo(sentence, err=True)
    if faults.total:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in faults.counts.most_common())
        rows = "row" if faults.total == 1 else "rows"
        typer.echo(f"{faults.total:,} {rows} left out: {kinds}. The first: {faults.examples[0]}", err=True)


def _records_of_dataset(dataset: Dataset, split: str, rows: int | None) -> Iterator[Record]:
    wanted = parse_split(split)
    if wanted == "heldout" and not dataset.heldout_rows:
        raise UsageError(f"{dataset.name!r} has no held-out part of its own; leave --split out.")
    return dataset.load(wanted, rows)


def _report(file: Path, found: Detection, reader: str, columns: Columns | None, whole: bool) -> dict[str, Any]:
    read_as = "mapped" if columns else reader or found.reader or "each row by its columns"
    return {
        "file": str(file),
        "taken_for": found.reason,
        "read_as": read_as,
        "columns": list(found.columns) if whole else listed(found.columns, quoted=False),
        "mapping": str(columns) if columns else "",
        "fits": found.fits,
    }
