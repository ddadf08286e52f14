"""`camelid prove SOURCE EXPORT`: is the export as good as what it was made of?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from camelid_core.commands.output import print_rows
from camelid_core.commands.run_job import print_summary, run_job
from camelid_core.config import parse_overrides, validate
from camelid_core.errors import UsageError

from camelid_serve.engine_spec import format_engine_spec
from camelid_serve.evaluations.proof.proof_config import LIMITS, ProofConfig

from .common_options import given

FAILED = 1
"""Exit code where the export is not as good as its limits ask."""
_WIDTH = 70

app = typer.Typer(help="Compare an export with its source on held-out text, and say whether it is as good.")

Settings = Annotated[
    list[str] | None,
    typer.Option(help="A setting of that engine as field=value; repeatable.", show_default=False),
]


def _field(name: str) -> Any:
    return typer.Option(help=ProofConfig.model_fields[name].description, show_default=False)


@app.command()
def prove(
    source: Annotated[str, typer.Argument(help="Model or adapter that the export was made of.")],
    export: Annotated[str, typer.Argument(help="The export: an artefact, a directory or a GGUF file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="field=value, for example cutoff=1024.")] = None,
    data: Annotated[str | None, _field("data")] = None,
    rows: Annotated[int | None, _field("rows")] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(help=f"A limit in place of the format's own, as NAME=VALUE; repeatable: {', '.join(LIMITS)}."),
    ] = None,
    template: Annotated[str | None, _field("template")] = None,
    engine: Annotated[str | None, _field("engine")] = None,
    engine_option: Settings = None,
    source_engine: Annotated[str | None, _field("source_engine")] = None,
    source_engine_option: Settings = None,
    dtype: Annotated[str | None, _field("dtype")] = None,
    record: Annotated[bool | None, typer.Option("--record/--no-record", help=_field("record").help)] = None,
    out: Annotated[str, typer.Option(help="Directory for the result; a plain name goes to Camelid's home.")] = "",
    name: Annotated[str, typer.Option(help="Name of the job and its result.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Compare an export with its source on held-out text: KL divergence per token, equal top tokens, perplexity,
    prompts, samples, size and speed, each with its interval and against the limits of the format.

    Exit code 0 means that the proof passed, 1 that it failed.
    """
    values = given(data=data, rows=rows, template=template, dtype=dtype, record=record)
    values |= {"source": source, "export": export, "output": out, "limits": _limits(limit or [])}
    for field, spec, settings in (
        ("engine", engine, engine_option),
        ("source_engine", source_engine, source_engine_option),
    ):
        if spec or settings:
            values[field] = format_engine_spec(spec or "transformers", settings or [])
    config = validate(ProofConfig, values | parse_overrides(overrides or []), "the options").with_absolute_paths()
    job = run_job("prove", config, name or config.default_name, config.source, config.export)
    results: Mapping[str, Any] = json.loads((Path(job.published) / "proof.json").read_text(encoding="utf-8"))
    if as_json:
        print_summary(job, True)
    else:
        _print(results)
        typer.echo(f"\n{job.published}")
        if recorded := job.summary.get("recorded"):
            typer.echo(f"recorded in {recorded}")
    if not results["passed"]:
        raise typer.Exit(FAILED)


def _limits(texts: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    if wrong := next((text for text, (_, sign, _) in zip(texts, pairs, strict=True) if not sign), None):
        raise UsageError(f"--limit {wrong!r} is no NAME=VALUE; write --limit {LIMITS[0]}=0.01.")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _print(results: Mapping[str, Any]) -> None:
    from camelid_serve.evaluations.proof.results import introduction, rows, sentence

    typer.echo(introduction(results) + "\n")
    print_rows(rows(results), False)
    for line in (*_template_lines(results["template"]), *_sample_lines(results["samples"])):
        typer.echo(line)
    typer.echo(f"\n{sentence(results)}")


def _template_lines(template: Mapping[str, Any]) -> Iterator[str]:
    for each in template["differences"]:
        where = each["why"] or f"other token ids from position {each['position']} on"
        yield f"\nprompt {each['conversation']}, {each['how']}: {where}"


def _sample_lines(samples: list[dict[str, Any]]) -> Iterator[str]:
    for sample in samples:
        at = sample["differs_at"]
        yield f"\n{sample['prompt']}"
        yield f"  {'equal' if at is None else f'differs at token {at}'}; source: {_shortened(sample['source'])}"
        if at is not None:
            yield f"  export: {_shortened(sample['export'])}"


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else f"{line[:_WIDTH]} …"
