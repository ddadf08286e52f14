"""`camelid chat MODEL`: talk with a model in the terminal, or from a script through a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated

import typer
from camelid_core.config import parse_overrides, validate
from camelid_core.errors import CamelidError

from camelid_serve.answering import Facts
from camelid_serve.chat import ChatSession
from camelid_serve.engine import Sampling

from .answering import MaxNewTokens, Seed, Temperature, given

app = typer.Typer(help="Talk with a model or artefact.")

_HELP = """/clear         forget the conversation
/retry         answer the last question anew
/system TEXT   set the system text (without TEXT: remove it) and begin anew
/stop          end the program; Ctrl-C ends only the answer under way
/help          this list"""


@app.command()
def chat(
    model: Annotated[str, typer.Argument(help="Model or artefact to talk with.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Sampling as field=value, for example top_p=0.9.")
    ] = None,
    question: Annotated[str, typer.Option("--ask", help="Answer this one question and end.")] = "",
    system: Annotated[str, typer.Option(help="System text.")] = "",
    base: Annotated[bool, typer.Option(help="Let the base without its adapter answer too, to compare.")] = False,
    template: Annotated[str, typer.Option(help="Prompt template; empty takes the model's own.")] = "",
    temperature: Temperature = None,
    max_new_tokens: MaxNewTokens = None,
    seed: Seed = None,
) -> None:
    """Talk with a model. It is prompted as it was trained."""
    from camelid_core.plugins import load_host

    from camelid_serve.assemble import assemble

    options = given(temperature=temperature, max_new_tokens=max_new_tokens, seed=seed) | parse_overrides(
        overrides or []
    )
    validate(Sampling, options, "the options")  # before the model is loaded, which takes a while
    assembled = assemble(model, load_host(), template, slots=2, report=_note)
    try:
        sampling = validate(Sampling, assembled.sampling.model_dump() | options, "the options")
        sides = [True, False] if base and assembled.adapter else [True]
        sessions = [ChatSession(assembled, sampling, system, tuned) for tuned in sides]
        if question:
            _answer(sessions, question)
        else:
            _talk(sessions, f"{assembled.reference.name} ({assembled.template.name})")
    finally:
        assembled.close()


def _talk(sessions: list[ChatSession], title: str) -> None:
    _note(f"{title}. /help shows what you can type besides questions.")
    for line in _lines():
        command, _, rest = line.partition(" ")
        if command == "/stop":
            return
        try:
            _obey(sessions, command, rest.strip(), line)
        except CamelidError as error:
            _note(str(error))


def _obey(sessions: list[ChatSession], command: str, rest: str, line: str) -> None:
    if command == "/help":
        _note(_HELP)
    elif command in ("/clear", "/system"):
        for session in sessions:
            session.clear()
            session.system = rest if command == "/system" else session.system
        _note("The conversation begins anew.")
    elif command == "/retry":
        _answer(sessions, None)
    elif command.startswith("/") and command[1:].isalpha():
        _note(f"There is no command {command!r}.\n{_HELP}")
    else:
        _answer(sessions, line)


def _answer(sessions: list[ChatSession], question: str | None) -> None:
    """Stream every session's answer to a question, or to the last one again."""
    for session in sessions:
        if len(sessions) > 1:
            _note("tuned:" if session.tuned else "base:")
        answer = session.retry() if question is None else session.send(question)
        try:
            for text in answer:
                typer.echo(text, nl=False)
        except KeyboardInterrupt:
            pass
        typer.echo()
        _note(_footer(session.facts))


def _footer(facts: Facts | None) -> str:
    if facts is None:
        return "(stopped)"
    end = {"stop": "complete", "length": "cut at max_new_tokens", "cancelled": "stopped"}[facts.finish]
    rate = f"{facts.tokens_per_second:.1f} tokens/s · first after {facts.first_token:.2f} s"
    return f"({facts.tokens} tokens · {rate} · {end})"


def _lines() -> Iterator[str]:
    """Non-empty lines: with a prompt and editing on a terminal, plain from a pipe."""
    if sys.stdin.isatty():
        import readline  # noqa: F401 - gives `input` editing and history
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return
        if line:
            yield line


def _note(text: str) -> None:
    """What is not an answer goes to stderr: a script reads answers alone."""
    typer.secho(text, err=True, dim=True)
