"""`camelid eval MODEL --data NAME`."""

from __future__ import annotations

from typing import Annotated

import typer
from camelid_core.commands.running import report, run_job

from camelid_serve.config import EvaluateConfig

from .answering import MaxNewTokens, Seed, Temperature, configure, given

app = typer.Typer(help="Score a model's answers on held-out rows.")


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="Model or artefact to score.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="field=value, for example sampling.top_p=0.9.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Dataset with a held-out part, or a file.", show_default=False)
    ] = None,
    rows: Annotated[int | None, typer.Option(help="Rows to score.", show_default=False)] = None,
    base: Annotated[bool, typer.Option(help="Score the base without its adapter too.")] = False,
    template: Annotated[str, typer.Option(help="Prompt template; empty takes the model's own.")] = "",
    temperature: Temperature = None,
    max_new_tokens: MaxNewTokens = None,
    seed: Seed = None,
    name: Annotated[str, typer.Option(help="Name of the job and its result.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Answer held-out rows and count exact answers."""
    values = given(model=model, data=data, rows=rows, base=base, template=template)
    sampling = given(temperature=temperature, max_new_tokens=max_new_tokens, seed=seed)
    config = configure(EvaluateConfig, values, sampling, overrides or []).anchored()
    report(run_job("evaluate", config, name), as_json)
