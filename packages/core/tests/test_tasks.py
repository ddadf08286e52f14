"""Tasks and commands are named by import paths; every path can be imported."""

from __future__ import annotations

import pytest
import typer
from camelid_core.config import Config
from camelid_core.plugins import load_host
from camelid_core.tasks import import_attribute


def test_a_path_is_a_module_and_an_attribute():
    assert import_attribute("json:loads").__name__ == "loads"
    with pytest.raises(ModuleNotFoundError):
        import_attribute("no_such_module:x")
    with pytest.raises(AttributeError):
        import_attribute("json:no_such_name")


@pytest.mark.parametrize("task", load_host().tasks, ids=lambda task: task.name)
def test_every_registered_task_has_a_configuration_and_can_be_run(task):
    assert issubclass(task.load_config(), Config)
    assert callable(task.load_run())
    assert task.help


@pytest.mark.parametrize("command", load_host().commands, ids=lambda command: command.name)
def test_every_registered_command_is_an_application_with_a_line_of_help(command):
    app = import_attribute(command.target)
    assert isinstance(app, typer.Typer)
    assert command.help
