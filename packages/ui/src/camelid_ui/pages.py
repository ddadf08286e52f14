"""Which pages there are, and their frame: header, tabs in the order of work, those of plugins after the built-in ones.

Knows how they are laid out. Knows nothing of what is on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.models.devices import describe_device

from .i18n import Translator, t, translator_for
from .plugin_tabs import build_plugin_tab, plugin_tabs
from .services import Services
from .tab_names import BUILT_IN_TABS
from .tabs import EACH, chat, data, jobs, merge, plugins, predict, train
from .tabs.components import hidden_box, panel
from .views import esc

HEADER_SECONDS = 4.0


@dataclass(frozen=True)
class Pages:
    """The built-in tabs and their frame. `query` is the query string of the first address; `opened` has for each tab
    how often it was opened before."""

    header: gr.HTML
    tabs: gr.Tabs
    query: gr.Textbox
    opened: dict[str, gr.Textbox]
    data: data.DataTab
    train: train.TrainTab
    chat: chat.ChatTab
    predict: predict.PredictTab
    merge: merge.MergeTab
    jobs: jobs.JobsTab
    plugins: plugins.PluginsTab


def build_pages(services: Services) -> Pages:
    def show(request: gr.Request) -> str:
        return header(services, translator_for(request))

    head = panel(elem_id="header")
    # Gradio's page opens its stream of answers anew at a request. One that meets the closing stream waits for the next
    # request; each tick is one, even while another waits, so no button stays off for longer than that.
    gr.Timer(HEADER_SECONDS).tick(show, None, head, **EACH)
    query = hidden_box("query")
    theirs = plugin_tabs(services)
    opened = {name: hidden_box(f"opened-{name}") for name in (*BUILT_IN_TABS, *(tab.name for tab in theirs))}
    built: dict[str, Any] = {}
    builders = {
        "data": data.build, "train": train.build, "chat": chat.build, "predict": predict.build,
        "merge": merge.build, "jobs": jobs.build, "plugins": plugins.build,
    }  # fmt: skip
    with gr.Tabs(selected=BUILT_IN_TABS[0], elem_id="tabs", overflow_behavior="wrap") as tabs:
        for name in BUILT_IN_TABS:
            with _tab(name, t(f"tab.{name}"), opened[name]):
                built[name] = builders[name](services)
        for plugin in theirs:
            with _tab(plugin.name, plugin.label, opened[plugin.name]):
                build_plugin_tab(plugin, services)
    return Pages(head, tabs, query, opened, **built)


def _tab(name: str, label: Any, opened: gr.Textbox) -> gr.Tab:
    tab = gr.Tab(label, id=name, elem_id=f"tab-{name}", render_children=True)
    tab.select(None, opened, opened, js=f"times => camelid.opened('{name}', times)", api_visibility="private")
    return tab


def header(services: Services, say: Translator) -> str:
    """Name, device in words, and how many jobs are running."""
    running, device = services.jobs.count_running(), esc(describe_device().description)
    words = say("header.running", count=running) if running else say("header.idle")
    return (
        f'<header class="camelid-header"><h1>Camelid</h1><span class="device">{device}</span>'
        f'<a class="running{" some" if running else ""}" href="/?tab=jobs" data-open-tab="jobs">{esc(words)}</a>'
        f"</header>{_banner(services, say)}"
    )


def _banner(services: Services, say: Translator) -> str:
    """What these pages are and their limits, where changes are not allowed."""
    profile = services.profile
    if profile.allow_changes:
        return ""
    models, limit = ", ".join(profile.models or ()), profile.max_prompt_characters or 0
    words = say("demo.banner", models=models, tokens=profile.max_new_tokens or 0, characters=f"{limit:,}")
    return f'<p class="camelid-note camelid-demo">{esc(words)}</p>'
