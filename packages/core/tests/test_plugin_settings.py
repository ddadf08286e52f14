"""Settings of plugins: validated, private, overridden by the environment, and secrets never shown."""

from __future__ import annotations

import json
import stat
from typing import Any

import pytest
from camelid_core import plugin_settings
from camelid_core.commands import plugin_settings as command
from camelid_core.config import Config
from camelid_core.errors import ConfigError, UsageError
from camelid_core.plugin_settings import PluginSettings, settings_file
from camelid_core.plugins import Host, Plugin, load_host
from pydantic import Field, SecretStr

SECRET = "sk-" + "0123456789" * 30


class ZooSettings(Config):
    path: str = ""
    """Where the zoo is."""
    seats: int = Field(4, ge=1, le=9)
    """How many may come."""
    animals: list[str] = []
    """Who is there."""
    key: SecretStr = SecretStr("")
    """What opens it."""


ZOO = PluginSettings("zoo", ZooSettings)


@pytest.fixture
def zoo(home, monkeypatch) -> PluginSettings[ZooSettings]:
    """Known to the command, beside what core gives."""
    import types

    from camelid_core import hookimpl

    module = types.ModuleType("zoo")
    module.camelid_settings = hookimpl(lambda: [ZOO])  # type: ignore[attr-defined]
    module.camelid_settings.__name__ = "camelid_settings"
    host = Host()
    core = [each for each in load_host().plugins if each.name == "camelid-core"]
    host.load([*core, Plugin("camelid-zoo", "1", module)])
    monkeypatch.setattr(command, "load_host", lambda: host)
    assert host.check() == []
    return ZOO


def test_defaults_then_the_file_then_the_environment(home, monkeypatch):
    assert ZOO.load() == ZooSettings()
    ZOO.save({"seats": 7, "path": "/zoo"})
    assert (ZOO.load().seats, ZOO.load().path) == (7, "/zoo")
    monkeypatch.setenv("CAMELID_ZOO_SEATS", "2")
    monkeypatch.setenv("CAMELID_ZOO_PATH", "123")  # a text stays one, whatever it looks like
    monkeypatch.setenv("CAMELID_ZOO_ANIMALS", '["llama", "vicuna"]')
    assert ZOO.load() == ZooSettings(seats=2, path="123", animals=["llama", "vicuna"])
    assert ZOO.stored() == {"seats": 7, "path": "/zoo"}
    sources = {each.name: each.source for each in ZOO.show()}
    assert sources == {
        "path": "CAMELID_ZOO_PATH", "seats": "CAMELID_ZOO_SEATS", "animals": "CAMELID_ZOO_ANIMALS", "key": "default",
    }  # fmt: skip


def test_the_file_is_its_owners_alone_and_holds_several_plugins(home):
    other = PluginSettings("other", ZooSettings)
    ZOO.save({"key": SECRET})
    other.save({"seats": 2})
    settings_file().chmod(0o644)
    assert (ZOO.load().key.get_secret_value(), other.load().seats) == (SECRET, 2)
    assert stat.S_IMODE(settings_file().stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seats": 12}, r"seats: Input should be less than or equal to 9 \(given: 12\)"),
        ({"seats": "many"}, "seats: .*valid integer"),
        ({"key": 5}, r"key: Input should be a valid string\.$"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_stored(home, changes, sentence):
    ZOO.save({"seats": 3})
    with pytest.raises(ConfigError, match=sentence):
        ZOO.save(changes)
    assert ZOO.stored() == {"seats": 3}


def test_an_unknown_setting_is_refused_with_the_nearest(home):
    with pytest.raises(UsageError, match=r"zoo has no setting 'seat'\. Did you mean 'seats'\?"):
        ZOO.save({"seat": 3})
    assert not settings_file().exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"zoo": 3}', '{"zoo": {}, "zoo": {}}'])
def test_a_damaged_file_is_said_to_be(home, text):
    settings_file().parent.mkdir(parents=True, exist_ok=True)
    settings_file().write_text(text)
    with pytest.raises(ConfigError, match=r"plugin-settings\.json"):
        ZOO.load()


def test_every_setting_has_a_default_and_the_plugin_a_plain_name():
    class Needs(Config):
        key: str

    with pytest.raises(ValueError, match="'key' has no default"):
        PluginSettings("zoo", Needs)
    with pytest.raises(ValueError, match="'The Zoo': a name has small letters"):
        PluginSettings("The Zoo", ZooSettings)


def everything_said(camelid: Any, *arguments: str) -> str:
    ran = camelid("plugins", "settings", *arguments)
    return ran.out + ran.err


def test_the_command_stores_shows_and_forgets(camelid, zoo):
    assert '"plugin": "zoo"' in everything_said(camelid, "--json")
    shown = camelid("plugins", "settings", "camelid-zoo", "seats=7", 'animals=["llama"]', "--json").json
    assert {row["name"]: row["value"] for row in shown} == {"path": "", "seats": 7, "animals": ["llama"], "key": ""}
    assert "How many may come." in everything_said(camelid, "zoo")
    assert "1–9" in everything_said(camelid, "zoo")
    camelid("plugins", "settings", "zoo", "--unset", "seats")
    assert zoo.stored() == {"animals": ["llama"]}
    assert camelid("plugins", "settings", "zoos").code == 2
    assert camelid("plugins", "settings", "zoo", "seats").code == 2


def test_a_secret_is_stored_and_never_shown(camelid, zoo, monkeypatch):
    said = everything_said(camelid, "zoo", f"key={SECRET}")
    assert json.loads(settings_file().read_text())["zoo"]["key"] == SECRET
    said += everything_said(camelid, "zoo") + everything_said(camelid, "zoo", "--json")
    said += everything_said(camelid, "zoo", "seats=99") + repr(zoo.load()) + str(zoo.show())
    monkeypatch.setenv("CAMELID_ZOO_KEY", SECRET)
    said += everything_said(camelid, "zoo", "--json")
    monkeypatch.setattr("typer.prompt", lambda text, hide_input: "asked" if hide_input else "shown")
    monkeypatch.delenv("CAMELID_ZOO_KEY")
    everything_said(camelid, "zoo", "key=-")
    assert zoo.load().key.get_secret_value() == "asked"
    assert '"value": "set"' in said
    assert SECRET[:20] not in said
    assert SECRET[-20:] not in said


def test_the_file_lies_in_camelids_home(home):
    assert plugin_settings.settings_file() == home / "plugin-settings.json"
