"""What this plugin gives to Camelid: the executor `slurm`, and its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from camelid_core import hookimpl

if TYPE_CHECKING:
    from camelid_core.jobs.executors import Executor
    from camelid_core.plugin_settings import PluginSettings

CAMELID_API = 1


@hookimpl
def camelid_executors() -> list[Executor]:
    from .executor import SlurmExecutor

    return [SlurmExecutor()]


@hookimpl
def camelid_settings() -> list[PluginSettings[Any]]:
    from .settings import SETTINGS

    return [SETTINGS]
