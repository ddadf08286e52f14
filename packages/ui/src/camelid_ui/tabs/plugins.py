"""The Plugins page: installed plugins, what each adds, their problems and settings. Knows only how to show it."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from camelid_ui.i18n import Translator, t, translator_for
from camelid_ui.services import Services
from camelid_ui.services.plugins import PluginView
from camelid_ui.views import Cell, ListingRow, cell, empty, esc, listing

from . import PRIVATE, plugin_settings
from .components import panel
from .plugin_settings import SettingsForm


@dataclass(frozen=True)
class PluginsTab:
    shown: gr.HTML
    settings: list[SettingsForm]

    def show(self, services: Services, say: Translator) -> str:
        found, local = services.plugins.all(), services.profile.allow_changes  # public pages name no place
        heads = [say("plugins.name"), say("plugins.version"), say("plugins.origin"), say("plugins.gives")]
        lines = [
            ListingRow(
                [
                    cell(each.name, "main"),
                    cell(each.version, "number quiet"),
                    cell(f"{each.source} {each.location}" if local else each.source, "quiet"),
                    Cell(_contributions(each)),
                ]
            )
            for each in found
        ]
        problems = "".join(
            f'<div class="camelid-error"><b>{esc(problem.plugin)}</b>: {esc(problem.message)}</div>'
            for problem in services.plugins.problems()
        )
        no_problems = f'<p class="camelid-note">{esc(say("plugins.no_problems"))}</p>'
        option, names = services.plugins.left_out()
        text = say("plugins.left_out", option=option, names=", ".join(names) or "–") if option else ""
        left_out = f'<p class="camelid-note">{esc(text)}</p>' if text else ""
        return (
            (problems or no_problems)
            + left_out
            + '<div style="height:16px"></div>'
            + (listing(heads, lines, say("plugins.caption")) or empty(""))
        )


def build(services: Services) -> PluginsTab:
    panel(t("plugins.title"), elem_classes="camelid-heading")
    shown = panel(elem_id="plugins-list")
    with gr.Row(elem_classes="camelid-actions"):
        again = gr.Button(t("plugins.check"), elem_id="plugins-check")
    if services.profile.allow_changes and services.plugins.settings():
        panel(t("plugins.settings"), elem_classes="camelid-heading")
    tab = PluginsTab(shown, plugin_settings.build(services))

    def check(request: gr.Request) -> str:
        return tab.show(services, translator_for(request))

    again.click(check, None, tab.shown, **PRIVATE)
    return tab


def _contributions(plugin: PluginView) -> str:
    return "<br>".join(
        f'<span class="quiet">{esc(word)}</span> '
        + "".join(f'<span class="camelid-chip">{esc(name)}</span>' for name in names)
        for word, names in plugin.gives.items()
    )
