"""The frame of the pages: tabs in the order of work, and those of plugins after the built-in ones."""

from __future__ import annotations

from inspect import signature

import gradio as gr
import httpx
from camelid_core.registry import Registry
from camelid_train.export.merge_config import MergeConfig
from camelid_ui.app import build_app
from camelid_ui.conversation_tree import ConversationTree
from camelid_ui.i18n import Translator
from camelid_ui.pages import BUILT_IN_TABS, header
from camelid_ui.tabs import Tab


def tabs_of(demo: gr.Blocks) -> list[str]:
    return [block["props"]["id"] for block in demo.get_config_file()["components"] if block["type"] == "tabitem"]


def test_tabs_stand_in_the_order_of_work(services):
    assert tabs_of(build_app(services)) == list(BUILT_IN_TABS)


def test_a_plugins_tab_comes_after_the_built_in_ones_and_cannot_take_their_names(services, monkeypatch):
    given: Registry[Tab] = Registry("tab")
    built = []
    given.add(Tab("theirs", "Theirs", built.append), "camelid-theirs")
    given.add(Tab("train", "Mine now", built.append), "camelid-greedy")
    registry = services.host.registry
    monkeypatch.setattr(services.host, "problems", [*services.host.problems])  # the host is that of the whole process
    monkeypatch.setattr(services.host, "registry", lambda hook: given if hook == "camelid_tabs" else registry(hook))
    assert tabs_of(build_app(services)) == [*BUILT_IN_TABS, "theirs"]
    assert built == [services]
    (told,) = [problem for problem in services.host.problems if problem.plugin == "camelid-greedy"]
    assert "'train'" in told.message
    assert "a built-in tab is called so" in told.message


def test_no_event_costs_the_browser_a_walk_through_the_page(services):
    """Gradio shows the state of every event at each of its outputs, and looks for all of them at every event."""
    config = build_app(services).get_config_file()
    assert [each for each in config["dependencies"] if each["backend_fn"] and each["show_progress_on"] != []] == []


def test_no_choice_is_lost_however_quickly_the_next_one_comes(services):
    """Gradio drops what comes while a handler is busy, and gives an event that waited the data of the one before it."""
    demo = build_app(services)
    for each in demo.get_config_file()["dependencies"]:
        handler, events = demo.fns[each["id"]].fn, {event for _, event in each["targets"]}
        if handler is None:
            continue
        says = any("EventData" in str(given.annotation) for given in signature(handler).parameters.values())
        if says:
            assert each["trigger_mode"] == "multiple", handler
        elif events & {"input", "select", "submit", "change", "then"}:
            assert each["trigger_mode"] != "once", (handler, events)


def test_every_tab_is_loaded_when_it_is_opened(services):
    config = build_app(services).get_config_file()
    names = {block["id"]: block["props"].get("elem_id") for block in config["components"]}
    told = {names[ident] for each in config["dependencies"] for ident, event in each["targets"] if event == "change"}
    assert {f"opened-{name}" for name in BUILT_IN_TABS} <= told


def test_what_changes_the_chosen_dataset_updates_the_list(services):
    """A dataset that was fetched is no longer one to fetch, on its own page and in the list beside it."""
    config = build_app(services).get_config_file()
    ids = {block["props"].get("elem_id"): block["id"] for block in config["components"]}

    def news(ident: str) -> set[tuple[int, str]]:
        told = [each for each in config["dependencies"] if ids[ident] in each["outputs"] and each["backend_fn"]]
        return {tuple(target) for each in told for target in each["targets"]}

    assert news("data-head")
    assert news("data-head") <= news("data-list")


def test_the_header_counts_what_runs(services):
    assert "No jobs running" in header(services, Translator("en"))
    services.jobs.submit("merge", MergeConfig(adapter="x"))
    assert "1 running" in header(services, Translator("en"))


def test_an_empty_conversation_never_covers_one_that_was_opened_meanwhile(services):
    """The page draws its conversation anew when it hears of the loaded model; under load the result of that comes after
    the one of a click in the history."""
    demo = build_app(services)
    redraw = next(each.fn for each in demo.fns.values() if each.fn is not None and each.fn.__name__ == "redraw")
    request = gr.Request(httpx.Request("GET", "http://127.0.0.1"), session_hash="page")
    asked = ConversationTree().with_question("Hello?", "")
    assert all("Hello?" in column for column in redraw(request, asked, "tiny", True, "base"))
    assert redraw(request, ConversationTree(), "tiny", True, "base") == (gr.skip(), gr.skip())
