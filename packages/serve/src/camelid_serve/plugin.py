"""What camelid-serve gives. Imports no model library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camelid_core.commands import Command
from camelid_core.hooks import hookimpl
from camelid_core.tasks import Task

if TYPE_CHECKING:
    from .engine import EngineKind


@hookimpl
def camelid_hookspecs() -> list[str]:
    return ["camelid_serve.hookspecs"]


@hookimpl
def camelid_engines() -> list[EngineKind]:
    from .engine import EngineKind

    return [
        EngineKind(
            "transformers", "Any Transformers model, in this process.", "camelid_serve.engines.transformers:load"
        )
    ]


@hookimpl
def camelid_tasks() -> list[Task]:
    from .tasks import TASKS

    return list(TASKS)


@hookimpl
def camelid_commands() -> list[Command]:
    return [
        Command("chat", "Talk with a model or artefact.", "camelid_serve.commands.chat:app"),
        Command("predict", "Answer every row of a file.", "camelid_serve.commands.predict:app"),
        Command("serve", "Answer over HTTP, as OpenAI's API does.", "camelid_serve.commands.serve:app"),
        Command(
            "eval", "Score answers, and measure what long contexts are worth.", "camelid_serve.commands.evaluate:app"
        ),
    ]


@hookimpl
def camelid_compat_commands() -> list[Command]:
    from .compat.scripts import SCRIPTS

    return [
        Command(
            name,
            f"Read an argument list of Alpaca-CoT's {name}.py as it is, and print the command it means.",
            f"camelid_serve.commands.compat:{name}",
        )
        for name in SCRIPTS
    ]
