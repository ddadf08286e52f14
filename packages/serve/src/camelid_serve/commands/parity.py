"""`camelid eval parity MODEL --engines transformers,llamacpp`: do engines generate the same tokens?"""

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
"""Exit code where engines diverge, so that a script can tell it from an error."""
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
    limit: Annotated[int, typer.Option(help="Maximum number of prompts.", min=1)] = 32,
    tokens: Annotated[int, typer.Option(help="Maximum length of each answer in tokens.", min=1, max=4096)] = 64,
    template: Annotated[str, typer.Option(help="Prompt template; empty takes the model's own.")] = "",
    dtype: Annotated[Dtype, typer.Option(help="dtype of the weights, where the engine loads them itself.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare the greedy tokens of several engines, and report where they diverge.

    Exit code 0 means that all tokens are equal, 3 that they are not.
    """
    from camelid_core.plugins import load_host

    from camelid_serve.evaluations import parity as evaluation

    host = load_host()
    compared = evaluation.parse_engines(model, engines, engine_option or [], host)
    prompts = evaluation.conversations(source, limit)
    results = evaluation.compare(compared, prompts, tokens, host, template, dtype, _note)
    if as_json:
        typer.echo(json.dumps(evaluation.as_json(model, compared, results, tokens), ensure_ascii=False, indent=2))
    else:
        _print_results(compared[0].label, results)
    if any(result.partings for result in results):
        raise typer.Exit(UNEQUAL)


def _print_results(first: str, results: list[EngineComparison]) -> None:
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
        for line in _divergence_lines(first, result):
            typer.echo(line)


def _divergence_lines(first: str, result: EngineComparison) -> Iterator[str]:
    for divergence in result.partings:
        prompt = " ".join(divergence.asked.split())
        shown = prompt if len(prompt) <= _WIDTH else f"{prompt[:_WIDTH]} …"
        yield f"\nprompt {divergence.prompt} diverges at token {divergence.position}: {shown}"
        yield f"  {first}: {_choice_text(divergence.first)}"
        yield f"  {result.engine}: {_choice_text(divergence.other)}"


def _choice_text(choice: TokenChoice) -> str:
    if choice.token is None:
        return choice.text
    own = "" if choice.probability is None else f", probability {choice.probability:.3g}"
    other = "" if choice.of_other is None else f"; the other's {choice.of_other:.3g}"
    return f"{choice.text!r} (token {choice.token}{own}{other})"


def _note(text: str) -> None:
    typer.secho(text, err=True, dim=True)
