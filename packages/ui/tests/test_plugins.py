"""The Plugins page: where each came from, what is left out, settings as forms; and tabs of plugins that fail."""

from __future__ import annotations

import asyncio
import inspect
import json
import types
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from camelid_core import hookimpl
from camelid_core.config import Config
from camelid_core.errors import UsageError
from camelid_core.plugin_settings import PluginSettings, settings_file
from camelid_core.plugins import Host, Plugin, load_host
from camelid_ui.access_profile import DEMO
from camelid_ui.app import build_app
from camelid_ui.i18n import Translator
from camelid_ui.pages import BUILT_IN_TABS
from camelid_ui.plugin_tabs import contained
from camelid_ui.services import Services
from camelid_ui.tabs import Tab, plugin_settings
from pydantic import Field, SecretStr

SECRET = "sk-0123456789-secret"


class ZooSettings(Config):
    path: str = ""
    """Where the zoo is."""
    seats: int = Field(4, ge=1, le=9)
    """How many may come."""
    key: SecretStr = SecretStr("")
    """What opens it."""


def fails(services: Services) -> None:
    gr.Textbox(label="half of it")
    raise KeyError("z")


def exits_at_a_click(value: str) -> str:
    raise SystemExit(3)


def works(services: Services) -> None:
    text = gr.Textbox(elem_id="it-is-there")
    gr.Button(elem_id="press").click(exits_at_a_click, text, text)


@pytest.fixture
def zoo(services) -> Services:
    """With a plugin that has settings, a tab that cannot be built, and one that can."""
    module = types.ModuleType("zoo")

    @hookimpl
    def camelid_settings() -> list[Any]:
        return [PluginSettings("zoo", ZooSettings)]

    @hookimpl
    def camelid_tabs() -> list[Any]:
        return [Tab("broken", "Broken", fails), Tab("sound", "Sound", works)]

    module.camelid_settings, module.camelid_tabs = camelid_settings, camelid_tabs  # type: ignore[attr-defined]
    host = Host()
    host.load([*load_host().plugins, Plugin("camelid-zoo", "1", module)])
    services.plugins.host = host
    object.__setattr__(services, "host", host)
    return services


def test_a_tab_that_cannot_be_built_says_so_and_all_others_come_up(zoo):
    config = build_app(zoo).get_config_file()
    tabs = [block["props"]["id"] for block in config["components"] if block["type"] == "tabitem"]
    assert tabs == [*BUILT_IN_TABS, "broken", "sound"]
    assert any(block["props"].get("elem_id") == "it-is-there" for block in config["components"])
    (said,) = [
        block for block in config["components"] if "camelid-failed-tab" in (block["props"].get("elem_classes") or [])
    ]
    assert "camelid-zoo: KeyError: &#x27;z&#x27;" in said["props"]["value"]
    assert ("camelid-zoo", "tab 'broken' failed: KeyError: 'z'") in [
        (problem.plugin, problem.message) for problem in zoo.plugins.problems()
    ]


@pytest.mark.parametrize("error", [KeyError("z"), SystemExit(3), UsageError("choose one.")])
@pytest.mark.parametrize("kind", ["plain", "streaming", "async", "async streaming"])
def test_a_handler_that_fails_is_a_sentence_and_the_server_lives(error, kind):
    """SystemExit in a handler would end the server's event loop."""

    def plain(value):
        raise error

    def streaming(value):
        yield value
        raise error

    async def awaited(value):
        raise error

    async def awaited_streaming(value):
        yield value
        raise error

    async def results(handler):
        found = handler("x")
        if inspect.isasyncgen(found):
            return [each async for each in found]
        return await found if inspect.isawaitable(found) else list(found)

    handlers = {"plain": plain, "streaming": streaming, "async": awaited, "async streaming": awaited_streaming}
    handler = contained(handlers[kind], "camelid-zoo")
    assert inspect.signature(handler) == inspect.signature(handlers[kind])
    with pytest.raises(gr.Error) as said:
        asyncio.run(results(handler))
    expected = "choose one." if isinstance(error, UsageError) else f"camelid-zoo: {type(error).__name__}: "
    assert said.value.message.startswith(expected)


def test_handlers_of_a_plugins_tab_are_contained_and_ours_are_not(zoo):
    demo = build_app(zoo)
    ids = {block.elem_id: ident for ident, block in demo.blocks.items() if getattr(block, "elem_id", None)}
    contained_ones = [
        handler for handler in demo.fns.values() if getattr(handler.fn, "__name__", "") == "exits_at_a_click"
    ]
    (handler,) = contained_ones
    assert handler.targets == [(ids["press"], "click")]
    with pytest.raises(gr.Error, match="camelid-zoo: SystemExit: 3"):
        handler.fn("x")


def test_the_page_says_where_plugins_lie_and_which_are_left_out(zoo):
    page = build_plugins_tab(zoo)
    shown = page.show(zoo, Translator("en"))
    assert "this process" in shown
    assert "leaves out" not in shown
    zoo.host.excluded, zoo.host.exclusion = ["camelid-x"], "--only-plugins zoo"
    assert "--only-plugins zoo leaves out: camelid-x." in page.show(zoo, Translator("en"))
    assert "camelid-x" in page.show(zoo, Translator("zh"))


def test_public_pages_name_no_place_of_the_machine(zoo):
    page = build_plugins_tab(zoo)
    object.__setattr__(zoo, "profile", DEMO)
    shown = page.show(zoo, Translator("en"))
    assert "camelid-core" in shown
    places = [each.location for each in zoo.plugins.all() if Path(each.location).is_absolute()]
    assert places
    assert not any(place in shown for place in places)


def build_plugins_tab(services: Services) -> Any:
    from camelid_ui.tabs import plugins

    with gr.Blocks():
        return plugins.build(services)


def form_of(services: Services) -> Any:
    return next(each for each in build_plugins_tab(services).settings if each.name == "zoo")


def test_a_form_has_a_widget_a_setting_and_a_secret_is_typed_unseen(zoo):
    widgets = form_of(zoo).form.widgets
    assert list(widgets) == ["path", "seats", "key"]
    assert (widgets["key"].type, widgets["key"].value) == ("password", "")
    assert widgets["seats"].info == "How many may come."


def test_what_the_form_saves_holds_and_an_empty_secret_stays(zoo, monkeypatch):
    form, say = form_of(zoo), Translator("en")
    zoo.plugins.save("zoo", form.form.config(["/zoo", 7, SECRET]))
    zoo.plugins.save("zoo", form.form.config(["/zoo", 4, ""]))
    assert json.loads(settings_file().read_text())["zoo"] == {"path": "/zoo", "key": SECRET}
    *fields, notice = form.fill(zoo, say)
    assert [each["value"] for each in fields] == ["/zoo", 4, ""]
    assert notice == ""
    monkeypatch.setenv("CAMELID_ZOO_SEATS", "2")
    *fields, notice = form.fill(zoo, say)
    assert [each["value"] for each in fields] == ["/zoo", 4, ""]  # the form shows what is stored
    assert "CAMELID_ZOO_SEATS" in notice
    assert SECRET not in str(fields) + notice


def test_a_value_that_does_not_fit_is_said_at_its_field(zoo):
    with pytest.raises(ValueError, match="seats: Input should be less than or equal to 9"):
        form_of(zoo).form.config(["/zoo", 12, ""])


def test_where_nothing_may_be_changed_there_is_no_form(zoo):
    object.__setattr__(zoo, "profile", DEMO)
    with gr.Blocks():
        assert plugin_settings.build(zoo) == []
