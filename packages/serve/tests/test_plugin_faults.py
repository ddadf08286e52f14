"""An error in a plugin's code comes out of the engine process as a sentence with the plugin's name."""

from __future__ import annotations

import json
import types

import pytest
from camelid_core import plugin_faults
from camelid_core.errors import CamelidError, PluginError, UnavailableName
from camelid_core.plugins import Host, Plugin
from camelid_serve.engine_process.messages import error_message, to_error


def over_the_pipe(error: BaseException) -> CamelidError:
    return to_error(json.loads(json.dumps(error_message(error))))


def test_the_plugin_is_named_on_the_other_side(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("faulty_engine")
    exec("def load():\n    raise KeyError('z')\n", vars(module))
    host = Host()
    host.load([Plugin("camelid-faulty", "1.2", module)])
    monkeypatch.setattr(plugin_faults, "loaded_host", lambda: host)
    with pytest.raises(KeyError) as raised:
        module.load()
    found = over_the_pipe(raised.value)
    assert type(found) is PluginError
    assert str(found) == "plugin camelid-faulty 1.2 failed: KeyError: 'z' (faulty_engine, line 2)."


def test_an_error_with_more_than_a_message_comes_as_its_sentence() -> None:
    found = over_the_pipe(UnavailableName("engine", "x", ["y"], reason="It may be of a plugin that is broken (z: oh)."))
    assert type(found) is CamelidError
    assert "It may be of a plugin that is broken" in str(found)


def test_errors_of_nobody_else_are_the_engines() -> None:
    assert str(over_the_pipe(ZeroDivisionError("by zero"))) == "the engine failed: ZeroDivisionError: by zero"
