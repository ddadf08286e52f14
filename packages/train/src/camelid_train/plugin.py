"""What camelid-train gives: tasks and commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camelid_core import hookimpl

if TYPE_CHECKING:
    from camelid_core.commands import Command
    from camelid_core.tasks import Task


@hookimpl
def camelid_tasks() -> list[Task]:
    from camelid_core.tasks import Task

    return [
        Task("train", "Fine-tune a model.", "camelid_train.config:Recipe", "camelid_train.sft:train"),
        Task(
            "merge", "Fold an adapter into its base.", "camelid_train.config:MergeConfig", "camelid_train.merge:merge"
        ),
    ]


@hookimpl
def camelid_commands() -> list[Command]:
    from camelid_core.commands import Command

    return [
        Command("train", "Fine-tune a model from a recipe.", "camelid_train.commands.train:app"),
        Command("merge", "Fold an adapter into its base model.", "camelid_train.commands.merge:app"),
    ]
