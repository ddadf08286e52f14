"""`camelid templates list|show|render|check`: prompt templates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camelid_core.errors import CamelidError, DataError, UsageError
from camelid_core.models.resolved_model import ResolvedModel, resolve_model
from camelid_core.models.template_choice import template_named, template_of
from camelid_core.plugins import Host, load_host
from camelid_core.readers import parse_message
from camelid_core.records import Message
from camelid_core.templates.hf_chat_template import MODEL_TEMPLATE
from camelid_core.templates.segments import segments_text
from camelid_core.templates.template import PromptTemplate

from .output import print_rows

if TYPE_CHECKING:
    from camelid_core.tokenization.encoder import Encoder

app = typer.Typer(help="List, show and render prompt templates.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_SAMPLE_CONVERSATION = (Message("user", "Add the numbers.", "2 and 3"), Message("assistant", "5"))


@app.command("list")
def list_templates(as_json: Json = False) -> None:
    """Every prompt template and the plugin that provides it."""
    templates = load_host().templates
    print_rows(
        [{"template": t.name, "plugin": templates.plugin_of(t.name), "help": t.help} for t in templates], as_json
    )


@app.command("show")
def show_template(
    name: str, model: Annotated[str, typer.Option(help="Model whose own template is meant, for 'own'.")] = ""
) -> None:
    """A template's exact text for a small conversation, and its Jinja."""
    host = load_host()
    template = _encoder(name, model, host).template if model else template_named(name, host)
    typer.echo(
        f"{template.help}\n\n{segments_text(template.render(_SAMPLE_CONVERSATION))}\n\n"
        f"Stops: {list(template.stops)}\n\n{template.jinja()}"
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
    encoder = _encoder(name, tokens, host) if tokens else None
    template = encoder.template if encoder else template_named(name, host)
    messages = _read_messages(file)
    if encoder is None:
        typer.echo(
            segments_text(template.prompt(messages) if generation_prompt else template.render(messages)), nl=False
        )
        return
    from camelid_core.tokenization.encoder import IGNORE

    if generation_prompt:
        ids = encoder.prompt_ids(messages)
        labels = [IGNORE] * len(ids)
    else:
        example = encoder.example(messages)
        ids, labels = example.input_ids, example.labels
    for token, label in zip(ids, labels, strict=True):
        typer.echo(f"{token:>8}  {'trained' if label != IGNORE else 'ignored'}  {encoder.decoder.shown(token)}")


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="Template to check; none with --all.")] = "",
    model: Annotated[
        str, typer.Argument(help="Model whose tokenizer to check with; empty: a small one made on the spot.")
    ] = "",
    everything: Annotated[bool, typer.Option("--all", help="Check every template.")] = False,
) -> None:
    """Run the template contract with a model's tokenizer."""
    if everything and model:
        raise UsageError(f"--all takes no template, only a model: `camelid templates check --all {model}`.")
    if not everything and not name:
        raise UsageError("name a template, or all of them with --all; `camelid templates list` shows them.")
    host = load_host()
    resolved = resolve_model(of, host) if (of := name if everything else model) else None
    tokenizer, tested = _tokenizer(resolved)
    names = (
        [each for each in host.templates.names() if each != MODEL_TEMPLATE or _has_chat_template(tokenizer)]
        if everything
        else [name]
    )
    templates = [template_of(resolved, host, each) if resolved else template_named(each, host) for each in names]
    broken = [sentence for template in templates if (sentence := _contract_violation(template, tokenizer))]
    if broken:
        raise CamelidError(f"the contract is broken with {tested}:\n" + "\n".join(broken))
    subject = f"template {name!r} keeps" if not everything else f"{len(names)} templates keep"
    typer.echo(f"{subject} the contract with {tested}.")


def _contract_violation(template: PromptTemplate, tokenizer: Any) -> str:
    """Where a template breaks the contract with this tokenizer, in a line; empty if it does not."""
    from camelid_core.testing import assert_template_contract

    try:
        assert_template_contract(template, tokenizer)
    except AssertionError as broken:
        return f"template {template.name!r} breaks the contract: {broken}"
    return ""


def _tokenizer(resolved: ResolvedModel | None) -> tuple[Any, str]:
    """A model's tokenizer, or a small one, and what to call it in messages."""
    if resolved is None:
        from camelid_core.testing import tiny_tokenizer

        return tiny_tokenizer(), "a small byte-level tokenizer"
    from camelid_core.models.loading import load_tokenizer

    return load_tokenizer(resolved), f"the tokenizer of {resolved.name!r}"


def _has_chat_template(tokenizer: Any) -> bool:
    return bool(getattr(tokenizer, "chat_template", None))


def _encoder(name: str, model: str, host: Host) -> Encoder:
    from camelid_core.tokenization.encoder import Encoder

    resolved = resolve_model(model, host)
    return Encoder(_tokenizer(resolved)[0], template_of(resolved, host, name))


def _read_messages(file: Path) -> list[Message]:
    try:
        values: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{str(file)!r} cannot be read as JSON: {error}") from None
    if not isinstance(values, list):
        raise DataError(f'{str(file)!r} must hold a JSON list of messages: [{{"role": "user", "content": "…"}}].')
    return [parse_message(value, f"{file.name}, message {number}") for number, value in enumerate(values, 1)]
