"""`camelid quantize MODEL`: the everyday name of `camelid export MODEL --to gptq`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from camelid_core.config import parse_overrides
from camelid_train.commands.export import run_export

from .section import GptqSection

app = typer.Typer(help="Quantise a model with GPTQ.")


def _of(field: str) -> Any:
    """The option of a field of the section: its help is the field's."""
    return typer.Option(help=GptqSection.model_fields[field].description)


@app.command()
def quantize(
    source: Annotated[str, typer.Argument(help="The model, or the adapter, which is merged first.")],
    settings: Annotated[list[str] | None, typer.Argument(help="Further settings, as field=value: sym, seed …")] = None,
    bits: Annotated[int | None, _of("bits")] = None,
    group_size: Annotated[int | None, _of("group_size")] = None,
    desc_act: Annotated[bool, _of("desc_act")] = False,
    damp: Annotated[float | None, _of("damp")] = None,
    calibration: Annotated[list[str] | None, _of("calibration")] = None,
    rows: Annotated[int | None, _of("rows")] = None,
    seqlen: Annotated[int | None, _of("seqlen")] = None,
    recipes: Annotated[list[str] | None, _of("recipes")] = None,
    out: Annotated[str, typer.Option(help="Directory for the result; a plain name goes to Camelid's home.")] = "",
    plan: Annotated[bool, typer.Option("--plan", help="Estimate size and memory, and write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Quantise a model with GPTQ, by one recipe or by several, each of which gets a folder named as its branch."""
    named = {
        "bits": bits, "group_size": group_size, "desc_act": desc_act or None, "damp": damp, "rows": rows,
        "calibration": calibration or None, "seqlen": seqlen, "recipes": recipes or None,
    }  # fmt: skip
    given = {name: value for name, value in named.items() if value is not None}
    run_export(source, {**parse_overrides(settings or []), **given, "type": "gptq"}, out, plan, as_json)
