"""Pages of the demo: disabled controls are there, with the reason, and stay disabled whatever a handler says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from camelid_ui.access_profile import DEMO
from camelid_ui.app import build_app
from camelid_ui.disabled_controls import CHANGE_CONTROLS, _with_disabled
from camelid_ui.i18n import Translator, strings
from camelid_ui.pages import header


@pytest.fixture
def demo(services):
    return build_app(replace(services, profile=DEMO))


def components(demo, ident):
    return [each for each in demo.get_config_file()["components"] if each["props"].get("elem_id") == ident]


def test_every_change_control_is_there_and_disabled(demo):
    for ident in CHANGE_CONTROLS:
        assert [each["props"]["interactive"] for each in components(demo, ident)] == [False], ident


def test_the_reason_stands_beside(demo):
    notes = [each for each in demo.get_config_file()["components"] if "camelid-closed" in str(each["props"])]
    assert len(notes) >= 8


def test_other_controls_stay_enabled(demo):
    (load,) = components(demo, "chat-load")
    assert load["props"]["interactive"] is not False


def test_no_handler_enables_a_disabled_control():
    update = {"__type__": "update", "interactive": True, "visible": True}
    assert _with_disabled(("text", update), [1], 2) == ("text", {**update, "interactive": False})
    assert _with_disabled(update, [0], 1)["interactive"] is False
    assert _with_disabled("New label", [0], 1)["value"] == "New label"


def test_a_handler_keeps_what_it_asks_gradio_for(demo):
    """Requests and events are given by what a handler's signature says."""
    import inspect

    closed = {ident for ident, block in demo.blocks.items() if block.elem_id in CHANGE_CONTROLS}
    touching = [each for each in demo.fns.values() if any(output._id in closed for output in each.outputs) and each.fn]
    assert touching
    assert any("request" in inspect.signature(each.fn).parameters for each in touching)


def test_the_header_says_what_the_limits_are(services):
    said = header(replace(services, profile=DEMO), Translator("en"))
    assert "smollm2-135m" in said
    assert "128 tokens" in said
    assert "demo" not in header(services, Translator("en"))
    assert "demo.banner" in strings("zh")
