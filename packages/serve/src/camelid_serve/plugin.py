"""Hook implementations of camelid-serve. Imports no model library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camelid_core.commands import Command
from camelid_core.hooks import hookimpl
from camelid_core.tasks import Task

if TYPE_CHECKING:
    from camelid_core.plugin_kit.plugin_kind import PluginKind

    from .engine import EngineKind
    from .evaluations.evaluation import Evaluation


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
def camelid_evaluations() -> list[Evaluation]:
    from .evaluations.builtin import answer_forms, exact_answers, multiple_choice

    return [*exact_answers.EVALUATIONS, *multiple_choice.EVALUATIONS, *answer_forms.EVALUATIONS]


@hookimpl
def camelid_plugin_kinds() -> list[PluginKind]:
    from .plugin_kinds import KINDS

    return list(KINDS)


@hookimpl
def camelid_tasks() -> list[Task]:
    from .tasks import TASKS

    return list(TASKS)


@hookimpl
def camelid_commands() -> list[Command]:
    return [
        Command("chat", "Chat with a model or adapter in the terminal.", "camelid_serve.commands.chat:app"),
        Command("predict", "Batch prediction: answer every row of a file.", "camelid_serve.commands.predict:app"),
        Command("serve", "Serve models over an OpenAI-compatible HTTP API.", "camelid_serve.commands.serve:app"),
        Command("machines", "Let other machines run this machine's jobs.", "camelid_serve.commands.machines:app"),
        Command(
            "prove",
            "Compare an export with its source on held-out text, and say whether it is as good.",
            "camelid_serve.commands.prove:app",
        ),
        Command(
            "eval",
            "Evaluate: scores and suites with intervals, perplexity and passkeys by context length, engine parity.",
            "camelid_serve.commands.evaluate:app",
        ),
    ]


@hookimpl
def camelid_compat_commands() -> list[Command]:
    from .compat.scripts import SCRIPTS

    return [
        Command(
            name,
            f"Read an argument list of Alpaca-CoT's {name}.py, and print the equivalent command.",
            f"camelid_serve.commands.compat:{name}",
        )
        for name in SCRIPTS
    ]
