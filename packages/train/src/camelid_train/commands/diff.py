"""`camelid diff make BASE TUNED` and `camelid diff recover DIFF BASE`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from camelid_core.commands.run_job import print_summary, run_job
from camelid_core.config import Config, validate

from camelid_train.export.config import DiffConfig, RecoverConfig

app = typer.Typer(help="Publish what a model changed instead of its weights, and recover it.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="End with one line of JSON.")]


def _option(config: type[Config], field: str) -> Any:
    return typer.Option(help=config.model_fields[field].description)


@app.command("make")
def make_diff(
    base: Annotated[str, typer.Argument(help="The base model.")],
    tuned: Annotated[str, typer.Argument(help="The fine-tuned or merged model.")],
    out: Annotated[str, typer.Option(help="Directory for the diff; a plain name goes to Camelid's home.")] = "",
    dtype: Annotated[str, _option(DiffConfig, "dtype")] = "float32",
    shard: Annotated[str, _option(DiffConfig, "shard")] = "4GB",
    as_json: Json = False,
) -> None:
    """Write the difference between a model's weights and those of its base, with a hash of the model."""
    values = {"base": base, "tuned": tuned, "output": out, "dtype": dtype, "shard": shard}
    config = validate(DiffConfig, values, "the options").with_absolute_paths()
    print_summary(run_job("diff", config, config.default_name, config.base, config.tuned), as_json)


@app.command("recover")
def recover_model(
    diff: Annotated[str, typer.Argument(help="The diff.")],
    base: Annotated[str, typer.Argument(help="The base model that it was made with.")],
    out: Annotated[str, typer.Option(help="Directory for the model; a plain name goes to Camelid's home.")] = "",
    shard: Annotated[str, _option(RecoverConfig, "shard")] = "4GB",
    as_json: Json = False,
) -> None:
    """Write the model that a diff was made of, and check that its weights are those."""
    values = {"diff": diff, "base": base, "output": out, "shard": shard}
    config = validate(RecoverConfig, values, "the options").with_absolute_paths()
    print_summary(run_job("recover", config, config.default_name, config.base), as_json)
