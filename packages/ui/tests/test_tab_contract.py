"""The contract of tabs: each rule is broken by one here. The tab that plugins begin with: tests/test_plugin_kit.py."""

from __future__ import annotations

import gradio as gr
import pytest
from camelid_core.commands.plugins import app
from camelid_core.errors import DuplicateName
from camelid_ui.tab_names import BUILT_IN_TABS
from camelid_ui.tabs import PRIVATE, Tab
from camelid_ui.testing import assert_tab_contract
from typer.testing import CliRunner


def sound(services):
    box = gr.Textbox(elem_id="mine-box")
    box.change(lambda text: text, box, box, **PRIVATE)


def empty(services): ...


def raises(services):
    raise KeyError("z")


def foreign(services):
    gr.Textbox(elem_id="data-list")


def twice(services):
    gr.Textbox(elem_id="mine-box")
    gr.Textbox(elem_id="mine-box")


def public(services):
    box = gr.Textbox()
    box.change(lambda text: text, box, box, show_progress="hidden", show_progress_on=[])


def covered(services):
    box = gr.Textbox()
    box.change(lambda text: text, box, box, api_visibility="private")


def once(services, built=[]):  # noqa: B006 - it remembers that it was laid out
    built.append(services)
    if len(built) == 1:
        gr.Textbox()


def needs_changes(services):
    if services.profile.allow_changes:
        gr.Textbox()
    else:
        raise PermissionError("no")


def test_a_sound_tab_passes(tmp_path):
    assert_tab_contract(Tab("mine", "Mine", sound), tmp_path)


@pytest.mark.parametrize(
    ("tab", "sentence"),
    [
        (Tab("my tab", "Mine", sound), "the name 'my tab' has other characters"),
        (Tab("train", "Mine", sound), "train: a built-in tab is called so"),
        (Tab("mine", " ", sound), "mine: the label is empty"),
        (Tab("mine", None, sound), "mine: the label is None"),
        (Tab("mine", "Mine", empty), "mine: build lays out no components"),
        (Tab("mine", "Mine", once), "mine: build lays out no components"),
        (Tab("mine", "Mine", raises), "mine: build raises KeyError"),
        (Tab("mine", "Mine", needs_changes), "mine: build raises PermissionError"),
        (Tab("mine", "Mine", foreign), "mine: the elem_id 'data-list' does not begin with 'mine-'"),
        (Tab("mine", "Mine", twice), "mine: two components have one elem_id"),
        (Tab("mine", "Mine", public), "mine: the handler .* is an open API"),
        (Tab("mine", "Mine", covered), "mine: the handler .* is covered by progress"),
    ],
)
def test_a_broken_tab_fails_with_its_name_and_what_is_wrong(tmp_path, tab, sentence):
    with pytest.raises(AssertionError, match=sentence):
        assert_tab_contract(tab, tmp_path)


@pytest.mark.parametrize("name", BUILT_IN_TABS)
def test_no_plugin_is_begun_with_the_name_of_a_built_in_tab(tmp_path, name):
    done = CliRunner().invoke(app, ["new", f"camelid-{name}", "--kind", "tab", "--out", str(tmp_path)])
    assert isinstance(done.exception, DuplicateName)
    assert list(tmp_path.iterdir()) == []
