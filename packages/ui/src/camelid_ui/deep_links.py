"""Deep links and lazy loading of tabs: a tab is filled when it is opened, the first time as the address says.

Knows which data each page loads then. Knows nothing of what is on it, and loads nothing before a tab is opened: whoever
only chats does not pay for a form of eighty fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import gradio as gr
from camelid_train.config import Recipe

from .i18n import Translator, translator_for
from .pages import Pages, header
from .services import Services
from .tab_names import BUILT_IN_TABS
from .tabs import PRIVATE
from .tabs.chat import status_of
from .tabs.jobs import task_choices
from .tabs.merge import adapters as adapters_of

Updates = dict[Any, Any]


@dataclass(frozen=True, slots=True)
class TabVisit:
    """One opening of a tab: how often it was opened before, the query parameters of the first address, and the values
    of its loader's `inputs`."""

    pages: Pages
    services: Services
    say: Translator
    earlier_visits: int
    query_values: Mapping[str, str]
    inputs: Mapping[Any, Any]

    def update_dropdown(self, widget: Any, names: Sequence[Any], first: Any) -> Updates:
        """The choices of a dropdown; at the first visit, and where nothing is chosen yet, `first` is."""
        if self.earlier_visits:
            return {widget: gr.update(choices=names)}
        chosen = {} if self.inputs.get(widget) else {"value": first}
        return {widget: gr.update(choices=names, interactive=True, **chosen)}

    def relist_jobs(self, state_changed: gr.State, job: gr.Textbox) -> Updates:
        """Have the page list its jobs again."""
        return {state_changed: f"{self.inputs[job]} {self.earlier_visits}"}


@dataclass(frozen=True, slots=True)
class TabLoader:
    """What opening a tab does: `load` is given the values of `inputs` and updates `outputs` and `dropdowns`.

    `dropdowns` are disabled until their choices are loaded: an earlier choice would be overwritten by the response that
    is still on its way.
    """

    load: Callable[[TabVisit], Updates]
    inputs: Sequence[Any] = ()
    outputs: Sequence[Any] = ()
    dropdowns: Sequence[Any] = ()


def wire(demo: gr.Blocks, pages: Pages, services: Services) -> None:
    """Show what the address says: the same on reload, in another tab, in another browser."""
    boxes = _address_fields(pages)

    def route(query: str, request: gr.Request) -> tuple[Any, ...]:
        query_values = _query_values(query)
        tab = query_values["tab"] if query_values.get("tab") in pages.opened else BUILT_IN_TABS[0]
        times = ("0" if name == tab else gr.skip() for name in pages.opened)
        values = (query_values.get(key, "") for key in boxes)
        return header(services, translator_for(request)), gr.Tabs(selected=tab), query, *times, *values

    shown = [pages.header, pages.tabs, pages.query, *pages.opened.values(), *boxes.values()]
    demo.load(route, pages.query, shown, js="() => camelid.arrived", **PRIVATE).then(
        None, pages.query, None, js="query => { camelid.routed(query); }", api_visibility="private"
    )
    for name, loader in _tab_loaders(pages).items():
        _wire_tab(loader, pages, services, pages.opened[name])


def _wire_tab(loader: TabLoader, pages: Pages, services: Services, opened: gr.Textbox) -> None:
    def load(request: gr.Request, times: str, query: str, *values: Any) -> Updates:
        inputs = dict(zip(loader.inputs, values, strict=True))
        return loader.load(TabVisit(pages, services, translator_for(request), int(times), _query_values(query), inputs))

    for widget in loader.dropdowns:
        widget.interactive = False
    # two outputs at least: for a single one Gradio takes no dictionary of updates
    outputs = [*loader.dropdowns, *loader.outputs, opened]
    opened.change(load, [opened, pages.query, *loader.inputs], outputs, **PRIVATE)


def _address_fields(pages: Pages) -> dict[str, gr.Textbox]:
    """Query parameters and the fields that hold them, but the dataset: its page takes the first if none is named."""
    return {
        "row": pages.data.row, "room": pages.data.open_panel, "mix": pages.data.mix.mix, "run": pages.train.run,
        "compare": pages.train.compare, "job": pages.jobs.panel.job, "merge": pages.merge.panel.job,
        "predict": pages.predict.panel.job,
    }  # fmt: skip


def _tab_loaders(pages: Pages) -> dict[str, TabLoader]:
    data, train, chat, predict, merge, jobs = (
        pages.data, pages.train, pages.chat, pages.predict, pages.merge, pages.jobs
    )  # fmt: skip
    widgets = train.form.widgets
    return {
        "data": TabLoader(_data, [data.chosen], [data.fresh, data.chosen, data.current], [data.model]),
        "train": TabLoader(
            _train, [train.run], [widgets["data.sources"], train.panel.state_changed], [widgets["model.name"]]
        ),
        "chat": TabLoader(_chat, [chat.model], chat.shown, [chat.model]),
        "predict": TabLoader(_predict, [predict.panel.job], [predict.panel.state_changed], [predict.model]),
        "merge": TabLoader(
            _merge,
            [merge.adapter, merge.export.source, merge.panel.job],
            [merge.panel.state_changed],
            [merge.adapter, merge.export.source],
        ),
        "jobs": TabLoader(_jobs, [jobs.panel.job], [jobs.panel.state_changed], [jobs.task]),
        "plugins": TabLoader(
            _plugins, outputs=[pages.plugins.shown, *(each for form in pages.plugins.settings for each in form.outputs)]
        ),
    }


def _query_values(query: str) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(query.lstrip("?")).items()}


def _data(now: TabVisit) -> Updates:
    page, names, models = now.pages.data, now.services.data.collection.names(), now.services.models.names()
    updates = now.update_dropdown(page.model, models, _first(models))
    if now.inputs[page.chosen]:
        return updates | {page.fresh: str(now.earlier_visits)}
    name = now.query_values.get("data", _first(names) or "")
    return updates | {page.chosen: name, page.current: name}


def _train(now: TabVisit) -> Updates:
    page, services = now.pages.train, now.services
    model, sources = page.form.widgets["model.name"], page.form.widgets["data.sources"]
    return (
        now.update_dropdown(model, services.models.bases(), _base(services))
        | {sources: gr.update(choices=services.data.collection.sources())}
        | now.relist_jobs(page.panel.state_changed, page.run)
    )


def _chat(now: TabVisit) -> Updates:
    page, services = now.pages.chat, now.services
    models = services.models
    first = services.chat.status.model or _first(models.names())
    updates = now.update_dropdown(page.model, models.grouped(), first)
    return updates | dict(zip(page.shown, status_of(services, now.say), strict=True))


def _predict(now: TabVisit) -> Updates:
    page, models = now.pages.predict, now.services.models.names()
    first = page.model.value if page.model.value in models else _first(models)
    return now.update_dropdown(page.model, models, first) | now.relist_jobs(page.panel.state_changed, page.panel.job)


def _merge(now: TabVisit) -> Updates:
    page, adapters = now.pages.merge, adapters_of(now.services)
    return (
        now.update_dropdown(page.adapter, adapters, _first(adapters))
        | now.update_dropdown(page.export.source, now.services.exports.sources(), None)
        | now.relist_jobs(page.panel.state_changed, page.panel.job)
    )


def _jobs(now: TabVisit) -> Updates:
    page = now.pages.jobs
    tasks = now.update_dropdown(page.task, task_choices(now.services, now.say), "")
    return tasks | now.relist_jobs(page.panel.state_changed, page.panel.job)


def _plugins(now: TabVisit) -> Updates:
    page = now.pages.plugins
    updates: Updates = {page.shown: page.show(now.services, now.say)}
    for form in page.settings:
        updates |= dict(zip(form.outputs, form.fill(now.services, now.say), strict=True))
    return updates


def _first(names: Sequence[str]) -> str | None:
    return names[0] if names else None


def _base(services: Services) -> str:
    """The base model of a new run: the recipe's default if it is on this machine, else any that is."""
    here = [entry.name for entry in services.models.all() if entry.kind == "model"]
    default = Recipe().model.name
    return default if default in here or not here else here[-1]
