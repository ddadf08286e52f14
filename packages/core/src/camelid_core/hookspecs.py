"""Core's hook specifications. Each returns a list of objects with a `name`; calls are pure and cheap.

Implement them in the module your entry point names (group `camelid`, entry-point name = distribution name):

    from camelid_core import hookimpl

    @hookimpl
    def camelid_prompt_templates():
        return [...]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .hooks import hookspec

if TYPE_CHECKING:
    from .commands import Command
    from .datasets.dataset import Dataset
    from .jobs.executors import Executor
    from .models.adapters import ModelAdapter
    from .models.capabilities import Capability
    from .models.checkpoint_converters import CheckpointConverter
    from .plugin_kit.plugin_kind import PluginKind
    from .plugin_settings import PluginSettings
    from .plugins import Note
    from .readers import Reader
    from .tasks import Task
    from .templates.template import PromptTemplate


@hookspec
def camelid_hookspecs() -> list[str]:
    """Import paths of modules with further extension points (each hook there is marked with `hookspec`)."""


@hookspec
def camelid_model_adapters() -> list[ModelAdapter]:
    """Model families: how to recognise one, its default template, LoRA targets and quirks."""


@hookspec
def camelid_checkpoint_converters() -> list[CheckpointConverter]:
    """Formats of checkpoints that need their authors' own code: how one is recognised, and what converts it."""


@hookspec
def camelid_capabilities() -> list[Capability]:
    """What this plugin does with models of some types, such as exporting them, and the test that shows it for each:
    columns of `camelid models families`."""


@hookspec
def camelid_prompt_templates() -> list[PromptTemplate]:
    """Prompt templates to offer wherever a template can be chosen."""


@hookspec
def camelid_datasets() -> list[Dataset]:
    """Datasets that can be named in a recipe, on the command line and on the Data page."""


@hookspec
def camelid_readers() -> list[Reader]:
    """Formats of data files: by which columns a row is known, and how it becomes a record."""


@hookspec
def camelid_commands() -> list[Command]:
    """Commands and command groups of the `camelid` program."""


@hookspec
def camelid_compat_commands() -> list[Command]:
    """Scripts of other tools for `camelid compat NAME …`; `target` is the function that reads their arguments."""


@hookspec
def camelid_tasks() -> list[Task]:
    """Kinds of long work that a job can hold and a worker can run."""


@hookspec
def camelid_notes() -> list[Note]:
    """What `camelid plugins doctor` says beside problems, such as why a package is not used."""


@hookspec
def camelid_executors() -> list[Executor]:
    """Places to run a job's attempt: a local child process, a cluster."""


@hookspec
def camelid_plugin_kinds() -> list[PluginKind]:
    """Kinds of plugins that `camelid plugins new` can begin: a hook, and the folder with the first files of such a
    plugin."""


@hookspec
def camelid_settings() -> list[PluginSettings[Any]]:
    """What this plugin can be set up with: one configuration class, for `camelid plugins settings` and the pages."""
