"""`camelid chat MODEL`: chat with a model in the terminal, or from a script through a pipe."""

from __future__ import annotations

from typing import Annotated

import typer
from camelid_core.config import parse_overrides, validate
from camelid_core.errors import UsageError

from camelid_serve.chat.session import ChatSession
from camelid_serve.engine import Sampling, check_streams
from camelid_serve.presets import OWN, PRESETS, SUFFIXES, by_name

from .chat_input import ChatLoop, note
from .common_options import (
    Engine,
    EngineOption,
    EngineUrl,
    MaxNewTokens,
    Preset,
    Seed,
    Suffix,
    Temperature,
    check_names,
    engine_of,
    given,
)

app = typer.Typer(help="Chat with a model or adapter in the terminal.")


@app.command()
def chat(
    model: Annotated[str, typer.Argument(help="Model or adapter to chat with.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Sampling parameters as field=value, for example top_p=0.9.")
    ] = None,
    question: Annotated[
        str | None, typer.Option("--ask", help="Answer this one message and exit.", show_default=False)
    ] = None,
    system: Annotated[str, typer.Option(help="System message.")] = "",
    prefill: Annotated[str, typer.Option(help="Text that every answer begins with; the model continues it.")] = "",
    base: Annotated[bool, typer.Option(help="Let the base model, without the adapter, answer too.")] = False,
    template: Annotated[str, typer.Option(help="Prompt template; empty takes the model's own.")] = "",
    engine: Engine = "transformers",
    engine_url: EngineUrl = "",
    engine_option: EngineOption = None,
    preset: Preset = "",
    suffix: Suffix = None,
    history: Annotated[
        bool, typer.Option("--history/--no-history", help="Give the model the earlier turns, or each message alone.")
    ] = True,
    temperature: Temperature = None,
    max_new_tokens: MaxNewTokens = None,
    seed: Seed = None,
) -> None:
    """Chat with a model, through the prompt template that it was trained with."""
    from camelid_core.plugins import load_host

    from camelid_serve.config import EngineConfig
    from camelid_serve.loaded_models import load_model

    options = given(temperature=temperature, max_new_tokens=max_new_tokens, seed=seed) | parse_overrides(
        overrides or []
    )
    check_streams(validate(Sampling, options, "the options"))
    if question is not None and not question.strip():
        raise UsageError("--ask takes a message; leave it out to chat.")
    chosen = by_name("preset", preset or OWN, PRESETS)
    suffixes = [by_name("suffix", name, SUFFIXES).text for name in suffix or []]
    engine_config = EngineConfig(template=template, engine=engine_of(engine, engine_url, engine_option), slots=2)
    check_names([model], engine_config)
    loaded = load_model(model, load_host(), engine_config, note)
    try:
        start = chosen.applied(loaded.sampling, loaded.sampling)
        sampling = validate(Sampling, start.model_dump() | options, "the options")
        variants = [True, False] if base and loaded.adapter else [True]
        if len(variants) > 1 and loaded.templates_differ:
            note(loaded.templates_differ)
        sessions = [ChatSession(loaded, sampling, system, tuned, prefill) for tuned in variants]
        loop = ChatLoop(sessions, suffixes, history)
        if question is not None:
            loop.answer(question)
        else:
            loop.run(f"{loaded.resolved.name}, template {loaded.template.name}: {loaded.template_reason}")
    finally:
        loaded.close()
