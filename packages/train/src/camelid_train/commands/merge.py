"""`camelid merge ADAPTER --out DIR`."""

from __future__ import annotations

from typing import Annotated

import typer
from camelid_core.commands.output import ProgressPrinter
from camelid_core.config import validate
from camelid_core.jobs.foreground import run_in_foreground

from camelid_train.commands.train import finish
from camelid_train.config import MergeConfig

app = typer.Typer(help="Fold an adapter into its base model.")


@app.command()
def merge(
    adapter: Annotated[str, typer.Argument(help="Artefact name or directory of the adapter.")],
    out: Annotated[str, typer.Option(help="Directory for the merged model; a plain name goes to Camelid's home.")] = "",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Write base + adapter as one plain Transformers model, and check that it gives the same logits."""
    config = validate(MergeConfig, {"adapter": adapter, "output": out, "dtype": dtype}, "the options").anchored()
    printer = ProgressPrinter()
    try:
        job = run_in_foreground("merge", config, f"{adapter.rstrip('/').rpartition('/')[2]}-merged", printer)
    finally:
        printer.close()
    finish(job, as_json, {key: job.summary.get(key) for key in ("logit_difference", "adapter_effect")})
