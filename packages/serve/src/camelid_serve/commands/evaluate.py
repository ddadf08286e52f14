"""`camelid eval score|answers|context|passkey|parity|list|rows`; without one of these words it is `score` where a task
or a suite is named, else `answers`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from camelid_core.commands.output import print_rows
from camelid_core.commands.run_job import print_summary, run_job
from camelid_core.jobs.job import Job
from camelid_core.statistics import Difference, Estimate
from typer.core import TyperGroup

from camelid_serve.config import EvaluateConfig
from camelid_serve.evaluations.long_context_config import ContextConfig, PasskeyConfig

from .common_options import MaxNewTokens, Seed, Temperature, configure, given
from .comparison_options import Lengths, Models, Rope, configure_comparison
from .parity import parity
from .score import list_evaluations, rows_needed, score


class _Evaluations(TyperGroup):
    """Takes `camelid eval MODEL… --task NAME` for `camelid eval score …`, and `camelid eval MODEL` for `camelid eval
    answers MODEL`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] != "--help" and args[0] not in self.commands:
            scored = any(each.partition("=")[0] in ("--task", "--suite") for each in args)
            args = ["score" if scored else "answers", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Evaluations,
    no_args_is_help=True,
    help="Evaluate: scores and suites with intervals, perplexity and passkeys by context length, engine parity. "
    "`eval MODEL… --task NAME` means `eval score …`, and `eval MODEL` means `eval answers MODEL`.",
)

Name = Annotated[str, typer.Option(help="Name of the job and its result.")]
Json = Annotated[bool, typer.Option("--json", help="End with one line of JSON.")]
Template = Annotated[str, typer.Option(help="Prompt template; empty takes the model's own.")]


@app.command()
def answers(
    model: Annotated[str, typer.Argument(help="Model or adapter to score.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="field=value, for example sampling.top_p=0.9.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Evaluation set: dataset with held-out rows, or a file.", show_default=False)
    ] = None,
    rows: Annotated[int | None, typer.Option(help="Number of rows to score.", show_default=False)] = None,
    base: Annotated[bool, typer.Option(help="Score the base model, without the adapter, too.")] = False,
    template: Template = "",
    temperature: Temperature = None,
    max_new_tokens: MaxNewTokens = None,
    seed: Seed = None,
    name: Name = "",
    as_json: Json = False,
) -> None:
    """Answer accuracy on held-out rows: the share of exactly right final answers."""
    values = given(model=model, data=data, rows=rows, base=base, template=template)
    sampling = given(temperature=temperature, max_new_tokens=max_new_tokens, seed=seed)
    config = configure(EvaluateConfig, values, sampling, overrides or []).with_absolute_paths()
    print_summary(run_job("evaluate", config, name, config.model), as_json)


@app.command()
def context(
    models: Models,
    lengths: Lengths = "",
    rope: Rope = "",
    text: Annotated[str, typer.Option(help="Text file, or rows with a `text` column; empty generates a text.")] = "",
    windows: Annotated[
        int | None, typer.Option(help="Number of windows in which tokens are predicted.", show_default=False)
    ] = None,
    name: Name = "",
    as_json: Json = False,
) -> None:
    """Perplexity by context length, with a plot.

    It falls with the length as long as a model can use its context, and rises beyond its context length.
    """
    config = configure_comparison(ContextConfig, models, lengths, rope, given(text=text or None, windows=windows))
    job = run_job("context", config, name, *config.models)
    _report_comparison(job, as_json, _perplexity_rows)


@app.command()
def passkey(
    models: Models,
    lengths: Lengths = "",
    rope: Rope = "",
    depths: Annotated[str, typer.Option(help="Depths of the passkey, 0 to 1: 0,0.5,1.", show_default=False)] = "",
    trials: Annotated[int | None, typer.Option(help="Trials per context length and depth.", show_default=False)] = None,
    template: Template = "",
    name: Name = "",
    as_json: Json = False,
) -> None:
    """Passkey retrieval from long texts (needle in a haystack), by context length and depth."""
    values = given(depths=depths.split(",") if depths else None, trials=trials, template=template)
    config = configure_comparison(PasskeyConfig, models, lengths, rope, values)
    job = run_job("passkey", config, name, *config.models)
    _report_comparison(job, as_json, _passkey_rows)


app.command()(parity)
app.command()(score)
app.command("list")(list_evaluations)
app.command("rows")(rows_needed)


def _report_comparison(job: Job, as_json: bool, table: Any) -> None:
    from camelid_serve.evaluations.plots import PLOT_SVG
    from camelid_serve.evaluations.result_files import read_results

    directory = Path(job.published)
    results = read_results(directory)
    if as_json:
        print_summary(job, True, results=results)
        return
    print_rows([row for variant in results["variants"] for row in table(variant)], False)
    typer.echo(f"\n{directory / PLOT_SVG if (directory / PLOT_SVG).is_file() else directory}")


def _perplexity_rows(variant: Mapping[str, Any]) -> list[dict[str, str]]:
    points = {str(point["length"]): point for point in variant["points"]}
    cells = {length: _short(Estimate, point.get("estimate")) for length, point in points.items()}
    rows = [{"perplexity": variant["label"], **cells}]
    if any("difference" in point for point in points.values()):
        differences = {length: _short(Difference, point.get("difference")) for length, point in points.items()}
        rows.append({"perplexity": "  loss minus the first's", **differences})
    return rows


def _short(kind: type[Estimate] | type[Difference], value: Mapping[str, Any] | None) -> str:
    return "–" if value is None else kind.from_json(value).short


def _passkey_rows(variant: Mapping[str, Any]) -> list[dict[str, str]]:
    rows: dict[float, dict[str, str]] = {}
    for cell in variant["cells"]:
        row = rows.setdefault(cell["depth"], {"keys found": variant["label"], "depth": f"{cell['depth']:.0%}"})
        row[str(cell["length"])] = f"{cell['found']}/{cell['of']}" if cell["of"] else "–"
    return list(rows.values())
