"""`camelid datasets clean|mix`: new datasets from existing ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from camelid_core.commands.output import print_rows
from camelid_core.datasets.dataset import Dataset
from camelid_core.datasets.noted_records import notes_of
from camelid_core.datasets.sources import open_dataset, parse_sources
from camelid_core.errors import UsageError
from camelid_core.plugins import load_host
from camelid_core.records import Record
from camelid_core.registry import Registry

from .arguments import Json, Name, refuse_to_overwrite, split_values
from .progress_meter import RowProgressMeter, expected_rows

app = typer.Typer()
Out = Annotated[Path | None, typer.Option(help="The file to write; its suffix says the format.")]
New = Annotated[str, typer.Option("--name", help="Add the result to the library under this name.")]
Dedupe = Annotated[str, typer.Option(help="Deduplicate: no, exact or near (near-duplicates too).")]
Drop = Annotated[list[str] | None, typer.Option(help="Leave out rows that this lint finds. Repeatable.")]
DropTag = Annotated[list[str] | None, typer.Option(help="Leave out rows with this tag (category). Repeatable.")]


@app.command()
def clean(
    name: Name,
    out: Out = None,
    new: New = "",
    drop: Drop = None,
    fix: Annotated[list[str] | None, typer.Option(help="Fix what this lint finds. Repeatable.")] = None,
    dedupe: Dedupe = "no",
    drop_tag: DropTag = None,
    against: Annotated[str, typer.Option(help="Leave out rows that share n-grams with this evaluation set.")] = "",
    as_json: Json = False,
) -> None:
    """Clean a dataset: drop or fix the rows that lints find, deduplicate, decontaminate."""
    from camelid_core import quality

    _check_target(out, new)
    datasets = load_host().datasets
    dataset = open_dataset(name, datasets)
    refuse_to_overwrite(out, [dataset.source, *_files([against] if against else [], datasets)])
    account = quality.RowAccount(name)
    drops, fixes = split_values(drop), split_values(fix)
    lints = dict(quality.LINTS)
    if against:
        drops.append(quality.CONTAMINATION)
        lints[quality.CONTAMINATION] = quality.evaluation_lint(against, datasets)
    total = expected_rows(dataset)
    with RowProgressMeter("read", quiet=as_json) as meter:
        records = dataset.load("train", None)
        rows = _with_progress(records, meter, total)
        kept = quality.clean(rows, drops, fixes, _deduplicate(dedupe), split_values(drop_tag), lints, account)
        step = "clean" + "".join(f" drop {n}" for n in drops) + "".join(f" fix {n}" for n in fixes)
        step += f" dedupe {dedupe}" if dedupe != "no" else ""
        step += f" against {against}" if against else ""
        _save(kept, out, new, [dataset], step, parent=name)
    account.notes = notes_of(records)
    _show_account([account.as_dict()], out, new, as_json)


@app.command()
def mix(
    sources: Annotated[
        list[str], typer.Argument(help="Datasets or files, each optionally with a weight: a b:0.5 c+d.")
    ],
    out: Out = None,
    new: New = "",
    dedupe: Dedupe = "no",
    drop_tag: DropTag = None,
    drop: Drop = None,
    temperature: Annotated[float, typer.Option(min=1, max=1000, help="Temperature sampling; 1 keeps shares.")] = 1.0,
    cap: Annotated[list[str] | None, typer.Option(help="At most N rows of a source: name=N. Repeatable.")] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="At most this many rows in total.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides which rows are taken and their order.")] = 0,
    as_json: Json = False,
) -> None:
    """Mix datasets: interleave them by weight, cap and temperature, without duplicates and dropped tags."""
    from camelid_core import mixing

    _check_target(out, new)
    mixture = mixing.Mixture(
        sources=sources,
        temperature=temperature,
        caps=_caps(cap),
        rows=rows,
        seed=seed,
        deduplicate=_deduplicate(dedupe),
        drop_tags=split_values(drop_tag),
        drop_lints=split_values(drop),
    )
    datasets = load_host().datasets
    refuse_to_overwrite(out, _files(sources, datasets))
    with RowProgressMeter("written", quiet=as_json) as meter:
        mixed = mixing.mix(mixture, datasets, progress=meter.per_source())
        meter.restart()
        step = "mix " + mixture.model_dump_json(exclude_defaults=True)
        records = _with_progress(mixed.records(), meter, len(mixed))
        _save(records, out, new, mixed.datasets, step, parent=" + ".join(sources))
    _show_account([part.as_dict() for part in mixed.account], out, new, as_json)


def _show_account(parts: list[dict[str, Any]], out: Path | None, new: str, as_json: bool) -> None:
    """Rows before and after for each source, and why."""
    if as_json:
        typer.echo(json.dumps(parts, ensure_ascii=False, indent=2))
        return
    lines = [
        {
            "source": part["source"],
            "before": part["read"],
            "after": part["taken"],
            "left out": ", ".join(f"{why} {rows:,}" for why, rows in part["dropped"].items()) or "–",
            "fixed": ", ".join(f"{why} {rows:,}" for why, rows in part["fixed"].items()) or "–",
        }
        for part in parts
    ]
    if not any(part["fixed"] for part in parts):
        for line in lines:
            del line["fixed"]
    print_rows(lines, False)
    for part in parts:
        for note in part["notes"]:
            typer.echo(f"{part['source']}: {note}", err=True)
    typer.echo(f"{sum(part['taken'] for part in parts):,} rows written to {out or new}")


def _save(
    records: Iterable[Record], out: Path | None, new: str, datasets: list[Dataset], step: str, parent: str
) -> None:
    """To a file, or to the library of added datasets."""
    if out is not None:
        from camelid_core.writers import write

        write(records, out)
        return
    from camelid_core.datasets import library

    library.add(records, new, **library.inherited(datasets), parent=parent, step=step)


def _check_target(out: Path | None, new: str) -> None:
    """Checked before any row is read: there is one target, and it can be written."""
    if (out is None) == (not new):
        raise UsageError("say where the rows go: either --out FILE or --name NEW.")
    if out is not None:
        from camelid_core.writers import choose_writer

        choose_writer(out, "")
    else:
        from camelid_core.datasets.library import refuse_taken

        refuse_taken(new)


def _files(names: Iterable[str], datasets: Registry[Dataset]) -> list[str]:
    return [open_dataset(source.name, datasets).source for source in parse_sources(names, datasets)]


def _with_progress(records: Iterable[Record], meter: RowProgressMeter, total: int) -> Iterator[Record]:
    for number, record in enumerate(records, 1):
        if number % 2000 == 0:
            meter(number, total)
        yield record


def _deduplicate(text: str) -> Any:
    if text not in ("no", "exact", "near"):
        raise UsageError(f"--dedupe {text!r} is not known; use no, exact or near.")
    return text


def _caps(texts: list[str] | None) -> dict[str, int]:
    caps = {}
    for text in split_values(texts):
        name, equals, count = text.rpartition("=")
        if not equals or not count.isdecimal():
            raise UsageError(f"--cap {text!r} is no cap; write name=N, for example alpaca=1000.")
        caps[name] = int(count)
    return caps
