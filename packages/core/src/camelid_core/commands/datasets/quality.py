"""`camelid datasets lints|stats`: statistics and quality checks of a dataset."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camelid_core.commands.output import print_rows
from camelid_core.datasets.dataset import Dataset, Split
from camelid_core.datasets.noted_records import joined, notes_of
from camelid_core.datasets.sources import open_dataset, parse_sources
from camelid_core.plugins import Host, load_host
from camelid_core.records import Record

from .arguments import Json, Name, parse_split, split_values
from .progress_meter import RowProgressMeter, expected_rows

if TYPE_CHECKING:
    from camelid_core.quality import Lint
    from camelid_core.tokenization.encoder import Encoder

app = typer.Typer()
_EXAMPLES = 3


@app.command()
def lints(as_json: Json = False) -> None:
    """What `compute_stats` looks for and `clean` can fix or drop."""
    from camelid_core.quality import LINTS

    rows = [
        {
            "lint": each.name,
            "default": "yes" if each.default else "",
            "fix": "yes" if each.fix else "",
            "help": each.help,
        }
        for each in LINTS.values()
    ]
    print_rows(rows, as_json)


@app.command("stats")
def show_stats(
    name: Name,
    as_json: Json = False,
    lint: Annotated[
        list[str] | None, typer.Option("--lints", help="Only these lints, with commas between; all or none.")
    ] = None,
    against: Annotated[str, typer.Option(help="Evaluation set to check for contamination.")] = "",
    model: Annotated[str, typer.Option(help="Also count tokens, with this model's tokenizer.")] = "",
    template: Annotated[str, typer.Option(help="Prompt template for --model; its own if not given.")] = "",
    cutoff: Annotated[int, typer.Option(min=16, help="Longest example in tokens, for --model.")] = 512,
    split: Annotated[str, typer.Option(help="train or heldout.")] = "train",
    languages: Annotated[bool, typer.Option(help="Identify the languages of a sample.")] = True,
) -> None:
    """Rows, lengths, languages, duplicates and what the lints find, from one pass over a dataset."""
    from camelid_core.quality import CONTAMINATION, compute_stats, evaluation_lint

    from .report import report

    host = load_host()
    part = parse_split(split)
    opened = _open(name, host)
    encoder = _encoder(model, template, host) if model else None
    known = _known_lints(encoder)
    names = _names(split_values(lint), known)
    if against:
        known[CONTAMINATION] = evaluation_lint(against, host.datasets)
        names = list(dict.fromkeys([*names, CONTAMINATION]))
    total = sum(expected_rows(dataset) for dataset in opened)
    with RowProgressMeter("read", quiet=as_json) as meter:
        records = _rows(opened, part)
        found = compute_stats(records, names, known, languages, progress=lambda done: meter(done, total))
        found.notes += notes_of(records)
        values: dict[str, Any] = {"dataset": name, **found.as_dict()}
        if encoder is not None:
            meter.restart()
            values["tokens"] = _tokens(_rows(opened, part), encoder, cutoff, found.rows, meter)
    typer.echo(json.dumps(values, ensure_ascii=False, indent=2) if as_json else report(values))


def _open(name: str, host: Host) -> list[Dataset]:
    return [open_dataset(source.name, host.datasets) for source in parse_sources([name], host.datasets)]


def _rows(datasets: list[Dataset], split: Split) -> Iterator[Record]:
    return joined((dataset.name, dataset.load(split, None)) for dataset in datasets)


def _tokens(
    records: Iterator[Record], encoder: Encoder, cutoff: int, rows: int, meter: RowProgressMeter
) -> dict[str, Any]:
    """Token counts under the cut-off, and the first rows whose answer is cut off."""
    import numpy as np

    from camelid_core.token_cache import TokenCache
    from camelid_core.token_cache.token_counts import count_encoded

    def step(done: int, total: int | None) -> None:
        meter(done, total or rows, "tokenised")

    encoded = TokenCache().encode(records, encoder, progress=step, total=rows)
    labelled = encoded.trained_within(cutoff) > 0
    refused, unlabelled = encoded.lengths == 0, (encoded.trained == 0) & (encoded.lengths > 0)
    why = {
        "the template has no form for it": refused,
        "nothing in it is trained on": unlabelled,
        f"its answer begins after {cutoff:,} tokens": ~labelled & ~refused & ~unlabelled,
    }
    examples = [
        {"row": int(row) + 1, "what": what} for what, mask in why.items() for row in np.flatnonzero(mask)[:_EXAMPLES]
    ]
    found = count_encoded(encoded, cutoff)
    unlabelled_rows = int(unlabelled.sum())
    found["dropped"] -= unlabelled_rows
    return {**found, "unlabelled": unlabelled_rows, "examples": examples}


def _encoder(model: str, template: str, host: Host) -> Encoder:
    from camelid_core.models.loading import load_tokenizer
    from camelid_core.models.resolved_model import resolve_model
    from camelid_core.models.template_choice import template_of
    from camelid_core.tokenization.encoder import Encoder

    resolved = resolve_model(model, host)
    return Encoder(load_tokenizer(resolved), template_of(resolved, host, template))


def _known_lints(encoder: Encoder | None) -> dict[str, Lint]:
    """All lints; with a tokenizer, `control-tokens` looks for that tokenizer's."""
    from camelid_core.quality import LINTS, control_tokens_of

    if encoder is None:
        return dict(LINTS)
    from camelid_core.special_tokens import special_tokens

    return {**LINTS, "control-tokens": control_tokens_of(special_tokens(encoder.tokenizer))}


def _names(given: list[str], known: dict[str, Lint]) -> list[str]:
    """The lints to run: those named, or those that run by default."""
    if given == ["all"]:
        return list(known)
    return [] if given == ["none"] else given or [name for name, each in known.items() if each.default]
