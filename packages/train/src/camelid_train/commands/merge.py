"""`camelid merge ADAPTER --out DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from camelid_core.commands.running import report, run_job
from camelid_core.config import validate

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
    name = f"{Path(config.adapter).name[:56]}-merged"
    report(run_job("merge", config, name, config.adapter), as_json)
