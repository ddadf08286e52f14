"""`camelid eval parity MODEL --engines transformers,llamacpp`: do engines say the same?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from camelid_core.commands.output import print_rows

from camelid_serve.config import Dtype

if TYPE_CHECKING:
    from camelid_serve.evaluations.parity import EngineComparison, TokenChoice

UNEQUAL = 3
"""Exit code where engines part, so that a script can tell it from an error."""
_WIDTH = 60


def parity(
    model: Annotated[str, typer.Argument(help="Model or artefact that all engines run.")],
    engines: Annotated[
        str,
        typer.Option(
            help="Engines to compare with the first; ENGINE=MODEL gives one another form, such as a GGUF file."
        ),
    ] = "transformers,openai",
    engine_option: Annotated[
        list[str] | None,
        typer.Option(
            help="A setting of an engine as engine.field=value: openai.url=http://127.0.0.1:8000; repeatable."
        ),
    ] = None,
    source: Annotated[
        str, typer.Option("--input", help="Data file or dataset to ask from; without it a few built-in prompts.")
    ] = "",
    limit: Annotated[int, typer.Option(help="Most prompts to ask.", min=1)] = 32,
    tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.", min=1, max=4096)] = 64,
    template: Annotated[str, typer.Option(help="Prompt template; empty takes the model's own.")] = "",
    dtype: Annotated[
        Dtype, typer.Option(help="Number format of the weights, where the engine stores them itself.")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare the greedy tokens of several engines, and say where they part.

    Exit code 0 means that all said the same, 3 that they did not.
    """
    from camelid_core.plugins import load_host

    from camelid_serve.evaluations import parity as evaluation

    host = load_host()
    competing = evaluation.parse_engines(model, engines, engine_option or [], host)
    asked = evaluation.conversations(source, limit)
    results = evaluation.compare(competing, asked, tokens, host, template, dtype, _note)
    if as_json:
        typer.echo(json.dumps(evaluation.as_json(model, competing, results, tokens), ensure_ascii=False, indent=2))
    else:
        _tell(competing[0].label, results)
    if any(result.partings for result in results):
        raise typer.Exit(UNEQUAL)


def _tell(first: str, results: list[EngineComparison]) -> None:
    print_rows(
        [
            {
                "engine": result.engine,
                f"answers as {first} gives them": f"{result.equal} of {result.prompts}",
                "equal tokens": result.tokens,
            }
            for result in results
        ],
        False,
    )
    for result in results:
        for line in _partings(first, result):
            typer.echo(line)


def _partings(first: str, result: EngineComparison) -> Iterator[str]:
    for parting in result.partings:
        asked = " ".join(parting.asked.split())
        shown = asked if len(asked) <= _WIDTH else f"{asked[:_WIDTH]} …"
        yield f"\nprompt {parting.prompt} parts at token {parting.position}: {shown}"
        yield f"  {first}: {_side(parting.first)}"
        yield f"  {result.engine}: {_side(parting.other)}"


def _side(side: TokenChoice) -> str:
    if side.token is None:
        return side.text
    worth = "" if side.probability is None else f", probability {side.probability:.3g}"
    other = "" if side.of_other is None else f"; the other's {side.of_other:.3g}"
    return f"{side.text!r} (token {side.token}{worth}{other})"


def _note(text: str) -> None:
    typer.secho(text, err=True, dim=True)
