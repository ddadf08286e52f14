"""`camelid predict MODEL INPUT --out FILE.jsonl`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from camelid_core.commands.run_job import print_summary, run_job
from camelid_core.plugins import load_host

from camelid_serve.config import PredictConfig
from camelid_serve.engine_spec import parse_engine_spec
from camelid_serve.predict.inputs import input_of
from camelid_serve.predict.prediction_rows import model_labels, model_names

from .common_options import (
    MaxNewTokens,
    Preset,
    Seed,
    Suffix,
    Temperature,
    configure,
    given,
    make_parent_directory,
    preset_of,
)

app = typer.Typer(help="Batch prediction: answer every row of a file.")
_ROWS_SHOWN = 3


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="Model or adapter that answers.")],
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="Data file (JSON, JSON Lines, CSV, TSV, Parquet) or dataset.")
    ],
    overrides: Annotated[list[str] | None, typer.Argument(help="field=value, for example sampling.top_p=0.9.")] = None,
    out: Annotated[Path | None, typer.Option(help="File for the answered rows (JSON Lines).")] = None,
    columns: Annotated[str, typer.Option("--map", help="Column mapping: instruction=question,input=passage.")] = "",
    reference: Annotated[str, typer.Option(help="Column with the gold answers, to score against.")] = "",
    also: Annotated[
        list[str] | None, typer.Option(help="A further model that answers the same rows; repeatable.")
    ] = None,
    template: Annotated[str, typer.Option(help="Prompt template; empty takes the model's own.")] = "",
    limit: Annotated[int | None, typer.Option(help="Maximum number of rows.")] = None,
    base: Annotated[bool, typer.Option(help="Answer with the base model, without the adapter.")] = False,
    batch_size: Annotated[int | None, typer.Option(help="Maximum batch size in rows.")] = None,
    prefill: Annotated[str, typer.Option(help="Text that every answer begins with; the model continues it.")] = "",
    continue_answers: Annotated[
        bool,
        typer.Option(
            "--continue",
            help="Continue the answer that a row's conversation ends with; by default it is the row's gold answer.",
        ),
    ] = False,
    preset: Preset = "",
    suffix: Suffix = None,
    temperature: Temperature = None,
    max_new_tokens: MaxNewTokens = None,
    seed: Seed = None,
    preview: Annotated[
        bool,
        typer.Option(
            "--preview",
            help="Show the prompts of the first rows (--limit says how many) with control tokens, and exit.",
        ),
    ] = False,
    name: Annotated[str, typer.Option(help="Name of the job and its result.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Batch prediction. It is a job: after a kill or a cancellation, `camelid jobs retry` resumes it.

    Rows keep their columns and their order and get `generate`, or `error`; with --also, each of these by model.
    Where the input has such a column, it stays, and the new one is `generate_2`, `error_2`.
    """
    values = given(
        model=model,
        input=source,
        columns=columns,
        reference=reference,
        out=str(out) if out else None,
        also=also,
        template=template,
        limit=limit,
        base=base,
        prefill=prefill,
        continue_answers=continue_answers,
        batch_size=batch_size,
        suffixes=suffix,
    )
    sampling = given(temperature=temperature, max_new_tokens=max_new_tokens, seed=seed)
    sampling = preset_of(preset, model) | sampling
    config = configure(PredictConfig, values, sampling, overrides or []).with_absolute_paths()
    input_of(config)
    model_labels(model_names(config))
    parse_engine_spec(load_host().registry("camelid_engines"), config.engine)
    if preview:
        _show(config, as_json)
        return
    if out is not None:
        make_parent_directory(out)
    job = run_job("predict", config, name, *model_names(config))
    print_summary(job, as_json, **({"output": str(out)} if out else {}))


def _show(config: PredictConfig, as_json: bool) -> None:
    """The prompts of the first rows as each model is given them."""
    from camelid_core.models.resolved_model import resolve_model
    from camelid_core.models.rope import context_length

    from camelid_serve.loaded_models import load_encoder
    from camelid_serve.predict.previews import preview_prompts

    host = load_host()
    source = input_of(config)
    shown: dict[str, list[Any]] = {}
    for label, name in model_labels(model_names(config)).items():
        resolved = resolve_model(name, host)
        encoder = load_encoder(resolved, host, config.template)
        found = preview_prompts(source, encoder, config.limit or _ROWS_SHOWN, context_length(resolved.config))
        shown[label] = [asdict(each) for each in found]
    for note in source.notes():
        typer.echo(note, err=True)
    if as_json:
        typer.echo(json.dumps(shown, ensure_ascii=False))
        return
    for label, rows in shown.items():
        for row in rows:
            about = row["error"] or f"{row['tokens']:,} tokens"
            typer.secho(f"{label}, row {row['number']}: {about}", bold=True)
            if row["prompt"]:
                typer.echo(row["prompt"])
