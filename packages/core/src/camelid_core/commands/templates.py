"""`camelid templates list|show|render|check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from camelid_core.errors import CamelidError, DataError
from camelid_core.models import resolve_model
from camelid_core.plugins import load_host
from camelid_core.readers import message
from camelid_core.records import Message
from camelid_core.templates import text_of

from .output import show

app = typer.Typer(help="List, show and render prompt templates.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_SAMPLE = (Message("user", "Add the numbers.", "2 and 3"), Message("assistant", "5"))


@app.command("list")
def list_templates(as_json: Json = False) -> None:
    """Every prompt template and who gives it."""
    templates = load_host().templates
    show([{"template": t.name, "plugin": templates.plugin_of(t.name), "help": t.help} for t in templates], as_json)


@app.command("show")
def show_template(name: str) -> None:
    """A template's exact text for a small conversation, and its Jinja."""
    template = load_host().templates[name]
    typer.echo(
        f"{template.help}\n\n{text_of(template.render(_SAMPLE))}\n\nStops: {list(template.stops)}\n\n{template.jinja()}"
    )


@app.command()
def render(
    name: str,
    file: Annotated[Path, typer.Argument(help="A JSON list of messages with role and content.")],
    generation_prompt: Annotated[bool, typer.Option("--generation-prompt", help="The prompt to answer from.")] = False,
    tokens: Annotated[str, typer.Option(help="Model whose tokens to print instead of the text.")] = "",
) -> None:
    """The exact text (or tokens) of a conversation."""
    host = load_host()
    template = host.templates[name]
    messages = _read_messages(file)
    segments = template.prompt(messages) if generation_prompt else template.render(messages)
    if not tokens:
        typer.echo(text_of(segments), nl=False)
        return
    from camelid_core.loading import load_tokenizer
    from camelid_core.tokenizing import IGNORE, Encoder

    encoder = Encoder(load_tokenizer(resolve_model(tokens, host)), template)
    if generation_prompt:
        ids = encoder.prompt_ids(messages)
        labels = [IGNORE] * len(ids)
    else:
        example = encoder.example(messages)
        ids, labels = example.input_ids, example.labels
    for token, label in zip(ids, labels, strict=True):
        typer.echo(f"{token:>8}  {'trained' if label != IGNORE else 'ignored'}  {encoder.text_of([token])!r}")


@app.command()
def check(
    name: str, model: Annotated[str, typer.Argument(help="Model whose tokenizer to check with.")] = "smollm2-135m"
) -> None:
    """Run the template contract with a model's tokenizer."""
    from camelid_core.loading import load_tokenizer
    from camelid_core.testing import assert_template_contract

    host = load_host()
    try:
        assert_template_contract(host.templates[name], load_tokenizer(resolve_model(model, host)))
    except AssertionError as broken:
        raise CamelidError(f"template {name!r} with the tokenizer of {model!r} breaks the contract: {broken}") from None
    typer.echo(f"template {name!r} keeps the contract with the tokenizer of {model!r}.")


def _read_messages(file: Path) -> list[Message]:
    try:
        values: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{str(file)!r} cannot be read as JSON: {error}") from None
    if not isinstance(values, list):
        raise DataError(f'{str(file)!r} must hold a JSON list of messages: [{{"role": "user", "content": "…"}}].')
    return [message(value, f"{file.name}, message {number}") for number, value in enumerate(values, 1)]
