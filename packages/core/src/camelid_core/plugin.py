"""camelid-core's own plugin: what it provides, through the same hooks as any other plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .hooks import hookimpl

if TYPE_CHECKING:
    from .commands import Command
    from .datasets.dataset import Dataset
    from .jobs.executors import Executor
    from .models.adapters import ModelAdapter
    from .plugin_kit.plugin_kind import PluginKind
    from .readers import Reader
    from .tasks import Task
    from .templates.template import PromptTemplate


@hookimpl
def camelid_model_adapters() -> list[ModelAdapter]:
    from .builtin.adapters import ADAPTERS

    return list(ADAPTERS)


@hookimpl
def camelid_prompt_templates() -> list[PromptTemplate]:
    from .builtin.templates import TEMPLATES

    return list(TEMPLATES)


@hookimpl
def camelid_datasets() -> list[Dataset]:
    from .builtin.datasets import DATASETS

    return list(DATASETS)


@hookimpl
def camelid_readers() -> list[Reader]:
    from .readers import READERS

    return list(READERS.values())


@hookimpl
def camelid_tasks() -> list[Task]:
    from .tasks import Task

    return [
        Task(
            "measure",
            "Count a dataset's tokens under a model and a template.",
            "camelid_core.token_cache.task:MeasureConfig",
            "camelid_core.token_cache.task:run",
            needs="camelid_core.token_cache.task:needs",
            portable=True,
        )
    ]


@hookimpl
def camelid_executors() -> list[Executor]:
    from .jobs.executors import LocalExecutor

    return [LocalExecutor()]


@hookimpl
def camelid_plugin_kinds() -> list[PluginKind]:
    from .builtin.plugin_kinds import KINDS

    return list(KINDS)


@hookimpl
def camelid_commands() -> list[Command]:
    from .commands import Command

    return [
        Command("models", "List, show, pull and convert models.", "camelid_core.commands.models:app"),
        Command("datasets", "Look at, fetch, convert, clean and mix datasets.", "camelid_core.commands.datasets:app"),
        Command("templates", "List, show and render prompt templates.", "camelid_core.commands.templates:app"),
        Command("cache", "List and prune tokenised examples.", "camelid_core.commands.cache:app"),
        Command("plugins", "List plugins and find what is wrong with them.", "camelid_core.commands.plugins:app"),
        Command("pipeline", "Run several jobs from one file.", "camelid_core.commands.pipeline:app"),
        Command("jobs", "List, follow, cancel and retry jobs.", "camelid_core.commands.jobs:app"),
        Command("worker", "Run queued jobs.", "camelid_core.commands.worker:app"),
    ]
