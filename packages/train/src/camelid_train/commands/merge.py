"""`camelid merge ADAPTER… --out DIR`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from camelid_core.commands.run_job import print_summary, run_job
from camelid_core.config import validate

from camelid_train.export.merge_config import MergeConfig


def _option(field: str, allowed: str = "") -> Any:
    return typer.Option(help=f"{allowed}{MergeConfig.model_fields[field].description}")


app = typer.Typer(help="Merge adapters into their base model.")


@app.command()
def merge(
    adapters: Annotated[
        list[str],
        typer.Argument(
            help="Artefact name or directory of the adapter; of several each may have a weight, chinese:0.5."
        ),
    ],
    base_model: Annotated[str, _option("base_model")] = "",
    combine: Annotated[str, _option("combine", "sum, ties, dare, dare-ties or magnitude. ")] = "sum",
    density: Annotated[float, _option("density")] = 0.5,
    dare_seed: Annotated[int, _option("dare_seed")] = 0,
    out: Annotated[str, typer.Option(help="Directory for the merged model; a plain name goes to Camelid's home.")] = "",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    weights: Annotated[str, _option("weights", "plain or as-trained. ")] = "plain",
    memory: Annotated[str, _option("memory", "auto, whole or layer. ")] = "auto",
    shard: Annotated[str, _option("shard")] = "4GB",
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Write base + adapters as one plain Transformers model, and check that it answers the same."""
    values = {
        "adapter": adapters[0], "others": adapters[1:], "base_model": base_model, "combine": combine,
        "density": density, "dare_seed": dare_seed, "output": out, "dtype": dtype, "weights": weights,
        "memory": memory, "shard": shard,
    }  # fmt: skip
    config = validate(MergeConfig, values, "the options").with_absolute_paths()
    names = [each.name for each in config.adapters]
    print_summary(run_job("merge", config, config.default_name, *names), as_json)
