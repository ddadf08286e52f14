"""`camelid merge ADAPTER --out DIR`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from camelid_core.commands.run_job import print_summary, run_job
from camelid_core.config import validate

from camelid_train.config import MergeConfig


def _option(field: str, allowed: str = "") -> Any:
    return typer.Option(help=f"{allowed}{MergeConfig.model_fields[field].description}")


app = typer.Typer(help="Merge an adapter into its base model.")


@app.command()
def merge(
    adapter: Annotated[str, typer.Argument(help="Artefact name or directory of the adapter.")],
    out: Annotated[str, typer.Option(help="Directory for the merged model; a plain name goes to Camelid's home.")] = "",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    weights: Annotated[str, _option("weights", "plain or as-trained. ")] = "plain",
    memory: Annotated[str, _option("memory", "auto, whole or layer. ")] = "auto",
    shard: Annotated[str, _option("shard")] = "4GB",
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Write base + adapter as one plain Transformers model, and check that it answers the same."""
    values = {"adapter": adapter, "output": out, "dtype": dtype, "weights": weights, "memory": memory, "shard": shard}
    config = validate(MergeConfig, values, "the options").with_absolute_paths()
    print_summary(run_job("merge", config, config.default_name, config.adapter), as_json)
