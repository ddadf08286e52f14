"""An error in a plugin's code fails its job as `plugin_error`, with the plugin, its version and the hook named."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from camelid_core.errors import DataError, PluginError
from camelid_core.jobs.attempt_result import AttemptResult
from camelid_core.jobs.foreground import run_in_foreground
from camelid_core.jobs.job import JobState
from camelid_core.plugin_faults import plugin_fault
from camelid_core.plugin_host.discovery import PLUGINS_VARIABLE
from camelid_core.plugins import Host, Plugin, load_host

FAULTY = """
from dataclasses import dataclass
from types import SimpleNamespace
from camelid_core import hookimpl
from camelid_core.config import Config
from camelid_core.tasks import Task, import_attribute

class Nothing(Config):
    pass

def raises(*_):
    raise KeyError("z")

def leaves(*_):
    raise SystemExit(3)

def calls_library(*_):
    import json
    json.loads("{")

def refuses(*_):
    from camelid_core.errors import DataError
    raise DataError("this row has no answer.")

import typer
app = typer.Typer()
app.command()(lambda: raises())

class Method:
    name = "faulty"

    def prepare(self):
        return 1 / 0

METHOD = Method()

@dataclass
class Given:
    name: str
    make: object

@hookimpl
def camelid_tasks():
    return [Task(f.__name__, "", f"{__name__}:Nothing", f"{__name__}:{f.__name__}") for f in (raises, leaves)]

@hookimpl
def camelid_commands():
    from camelid_core.commands import Command
    return [Command("fall", "Fall.", f"{__name__}:app"), Command("miss", "Miss.", f"{__name__}:no_such_app")]

@hookimpl
def camelid_readers():
    return [METHOD, Given("given", calls_library)]
"""


@pytest.fixture
def faulty(monkeypatch) -> types.ModuleType:
    module = types.ModuleType("faulty_plugin")
    monkeypatch.setitem(sys.modules, "faulty_plugin", module)
    exec(compile(FAULTY, "faulty_plugin.py", "exec"), vars(module))
    return module


@pytest.fixture
def host(faulty) -> Host:
    host = Host()
    host.load(
        [
            *(each for each in load_host().plugins if each.name == "camelid-core"),
            Plugin("camelid-faulty", "1.2", faulty),
        ]
    )
    assert host.check() == []
    return host


def fault(host: Host, function: Callable[[], object]) -> PluginError | None:
    try:
        function()
    except BaseException as error:
        return plugin_fault(error, host)
    raise AssertionError("it raised nothing")


def test_the_plugin_its_version_and_what_it_gave_are_named(host, faulty):
    found = str(fault(host, faulty.METHOD.prepare))
    assert found.startswith("plugin camelid-faulty 1.2 failed in camelid_readers 'faulty': ZeroDivisionError: division")
    assert "(faulty_plugin, line " in found
    assert "in camelid_tasks 'leaves': SystemExit: 3" in str(fault(host, lambda: faulty.leaves({}, None)))
    assert "in camelid_readers 'given': JSONDecodeError" in str(fault(host, host.readers["given"].make))


def test_what_a_plugins_object_lacks_and_what_its_import_path_lacks_is_its_fault(host, faulty):
    from camelid_core.tasks import import_attribute

    assert "AttributeError" in str(fault(host, lambda: load_missing(host)))
    assert "AttributeError" in str(fault(host, lambda: import_attribute("faulty_plugin:no_such_function")))


def load_missing(host: Host) -> None:
    """As code of Camelid that asks a plugin's object for what its protocol has."""
    from camelid_core.readers.selection import matching_reader

    matching_reader({"a": 1}, [host.readers["faulty"]])


def test_errors_of_others_are_nobodys(host):
    assert fault(host, lambda: 1 / 0) is None
    assert fault(host, lambda: host.templates["alpacca"]) is None


def test_a_refusal_of_a_plugin_is_no_fault(host, faulty):
    """What it raises on purpose is a sentence already."""
    with pytest.raises(DataError) as refused:
        faulty.refuses()
    assert AttemptResult.from_exception(refused.value).kind == "data_error"


def put_on_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin above, and one whose hook fails, for processes that are started."""
    (folder / "faulty_plugin.py").write_text(FAULTY)
    broken = "from camelid_core import hookimpl\n@hookimpl\ndef camelid_tasks():\n    raise ValueError('oh')\n"
    (folder / "broken_plugin.py").write_text(broken)
    monkeypatch.setenv(PLUGINS_VARIABLE, "camelid-faulty==1.2=faulty_plugin camelid-broken==1=broken_plugin")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        ("raises", "plugin camelid-faulty 1.2 failed in camelid_tasks 'raises': KeyError: 'z'"),
        ("leaves", "plugin camelid-faulty 1.2 failed in camelid_tasks 'leaves': SystemExit: 3"),
        ("mine", "It may be of a plugin that is broken (camelid-broken: camelid_tasks failed: ValueError: oh)"),
    ],
)
def test_a_job_fails_with_the_plugins_name_and_the_worker_lives(home, tmp_path, monkeypatch, task, sentence):
    put_on_path(tmp_path, monkeypatch)
    job = run_in_foreground(task, {})
    assert (job.state, job.error_kind) == (JobState.FAILED, "plugin_error")
    assert sentence in job.error
    (log,) = home.rglob("log.txt")
    assert "plugin camelid-broken: camelid_tasks failed: ValueError: oh" in log.read_text()


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("fall", "camelid: plugin camelid-faulty 1.2 failed: KeyError: 'z' (faulty_plugin, line "),
        ("miss", "camelid: plugin camelid-faulty 1.2 failed: AttributeError: module 'faulty_plugin' has no attribute"),
    ],
)
def test_a_command_that_fails_ends_with_the_plugins_name_behind_the_traceback(
    home, tmp_path, monkeypatch, command, sentence
):
    put_on_path(tmp_path, monkeypatch)
    start = [sys.executable, "-P", "-m", "camelid_core.cli", command]
    done = subprocess.run(start, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith(sentence)
