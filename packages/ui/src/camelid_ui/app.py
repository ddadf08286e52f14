"""All pages as one Gradio app: header, tabs in the order of work, addresses, and what leads from page to page.

Knows which pages there are. Knows nothing of what is on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import gradio as gr
from camelid_core.devices import describe
from camelid_core.errors import CamelidError
from camelid_core.mixing import Mixture
from camelid_serve.config import PredictConfig
from camelid_serve.engine import Sampling
from camelid_train.config import MergeConfig, Recipe

from .closed import close_controls
from .fields import flat
from .forms import limits, words
from .services import Services
from .tabs import PRIVATE, Tab, chat, data, jobs, merge, plugins, predict, train
from .tabs.chat import status_of
from .tabs.parts import held, panel
from .text import Voice, t, translations, voice_of
from .views import esc

OURS = ("data", "train", "chat", "predict", "merge", "jobs", "plugins")
HEADER_SECONDS = 4.0
FORMS = (Recipe, MergeConfig, PredictConfig, Sampling)


@dataclass(frozen=True)
class Pages:
    """Our tabs, and the frame they stand in."""

    header: gr.HTML
    tabs: gr.Tabs
    query: gr.Textbox
    data: data.DataTab
    train: train.TrainTab
    chat: chat.ChatTab
    predict: predict.PredictTab
    merge: merge.MergeTab
    jobs: jobs.JobsTab
    plugins: plugins.PluginsTab


def build_app(services: Services) -> gr.Blocks:
    """The whole app; `words` of all forms are in `i18n()`."""
    with gr.Blocks(title="Camelid", analytics_enabled=False, fill_width=True) as demo:
        pages = _lay_out(services)
        _header(pages, services)
        _lead(pages, services)
        _restore(demo, pages, services)
        close_controls(demo, services.profile)
    demo.queue(max_size=services.profile.queue, default_concurrency_limit=8, api_open=False)
    return demo


def i18n() -> Any:
    return translations(words(FORMS), limits(FORMS))


def _lay_out(services: Services) -> Pages:
    header = panel(elem_id="header")
    query = held("query")
    built: dict[str, Any] = {}
    builders = {
        "data": data.build, "train": train.build, "chat": chat.build, "predict": predict.build,
        "merge": merge.build, "jobs": jobs.build, "plugins": plugins.build,
    }  # fmt: skip
    with gr.Tabs(selected="data", elem_id="tabs", overflow_behavior="wrap") as tabs:
        for name in OURS:
            with _tab(name, t(f"tab.{name}")):
                built[name] = builders[name](services)
        for plugin in _plugin_tabs(services):
            with _tab(plugin.name, plugin.label):
                plugin.build(services)
    return Pages(header, tabs, query, **built)


def _tab(name: str, label: Any) -> gr.Tab:
    tab = gr.Tab(label, id=name, elem_id=f"tab-{name}", render_children=True)
    tab.select(None, None, None, js=f"() => {{ camelid.address({{tab: '{name}'}}); }}", api_visibility="private")
    return tab


def _plugin_tabs(services: Services) -> list[Tab]:
    return [tab for tab in services.host.registry("camelid_tabs") if tab.name not in OURS]


def _header(pages: Pages, services: Services) -> None:
    def show(request: gr.Request) -> str:
        return header(services, voice_of(request))

    gr.Timer(HEADER_SECONDS).tick(show, None, pages.header, **PRIVATE)


def header(services: Services, say: Voice) -> str:
    """Name, device in words, and how many jobs are under way."""
    running = services.jobs.count_running()
    words = say("header.running", count=running) if running else say("header.idle")
    return (
        f'<header class="camelid-header"><h1>Camelid</h1><span class="device">{esc(describe().words)}</span>'
        f'<a class="running{" some" if running else ""}" href="/?tab=jobs" data-open-tab="jobs">{esc(words)}</a>'
        f"</header>{_banner(services, say)}"
    )


def _banner(services: Services, say: Voice) -> str:
    """What these pages are, where they are not one's own."""
    profile = services.profile
    if profile.changes:
        return ""
    models, limit = ", ".join(profile.models or ()), profile.prompt_characters or 0
    words = say("demo.banner", models=models, tokens=profile.new_tokens or 0, characters=f"{limit:,}")
    return f'<p class="camelid-note camelid-demo">{esc(words)}</p>'


def _lead(pages: Pages, services: Services) -> None:
    """What leads from one page to the next."""

    def use(name: str) -> tuple[Any, ...]:
        try:
            return to_training(Mixture(sources=[services.data.collection.show(name).source]))
        except CamelidError:
            return (gr.skip(),) * (len(mixed) + 3)  # it is gone, which the page says

    def use_mix(*values: Any) -> tuple[Any, ...]:
        try:
            return to_training(data.weighing.mixture(*values))
        except CamelidError:
            return (gr.skip(),) * (len(mixed) + 3)  # said where the mixture is

    def to_training(mixture: Mixture) -> tuple[Any, ...]:
        return gr.Tabs(selected="train"), "", "", *(form.show(path, flat(mixture)[path[5:]]) for path in mixed)

    def talk(run: str) -> tuple[Any, Any]:
        artefact = services.training.show(int(run)).artefact
        return gr.Tabs(selected="chat"), gr.update(value=artefact, choices=services.models.grouped())

    def fold(run: str) -> tuple[Any, Any]:
        artefact = services.training.show(int(run)).artefact
        return gr.Tabs(selected="merge"), gr.update(value=artefact, choices=_adapters(services))

    def lists() -> tuple[Any, ...]:
        """Whatever was made or added meanwhile can be chosen everywhere."""
        models, grouped = gr.update(choices=services.models.names()), gr.update(choices=services.models.grouped())
        bases, sources = (
            gr.update(choices=services.models.bases()),
            gr.update(choices=services.data.collection.sources()),
        )
        return models, grouped, models, bases, sources, gr.update(choices=_adapters(services))

    form, widgets = pages.train.form, pages.train.form.widgets
    mixed = [path for name in Mixture.model_fields if (path := f"data.{name}") in widgets]
    training = [pages.tabs, pages.train.run, pages.train.compare, *(widgets[path] for path in mixed)]
    pages.data.bottom.use.click(use, pages.data.chosen, training, **PRIVATE)
    pages.data.mix.use.click(use_mix, pages.data.mix.choices, training, **PRIVATE)
    pages.train.panel.chat.click(talk, pages.train.run, [pages.tabs, pages.chat.model], **PRIVATE)
    pages.train.panel.merge.click(fold, pages.train.run, [pages.tabs, pages.merge.adapter], **PRIVATE)
    choices = [
        pages.data.model,
        pages.chat.model,
        pages.predict.model,
        widgets["model.name"],
        widgets["data.sources"],
        pages.merge.adapter,
    ]
    news = [pages.train.panel.ended.change, pages.merge.panel.ended.change, pages.data.current.change]
    news += [pages.data.mix.said.change, pages.data.fetch.fetched.change, pages.chat.history.fed.change]
    gr.on(news, lists, None, choices, **PRIVATE)


def _restore(demo: gr.Blocks, pages: Pages, services: Services) -> None:
    """Show what the address says: the same on reload, in another tab, in another browser."""

    def route(query: str, request: gr.Request) -> tuple[Any, ...]:
        say = voice_of(request)
        asked = {key: values[0] for key, values in parse_qs(query.lstrip("?")).items()}
        names = services.data.collection.names()
        models = services.models.names()
        resident = services.chat.status.model
        model = gr.update(choices=models, value=models[0] if models else None)
        return (
            header(services, say),
            gr.Tabs(selected=asked.get("tab", "data")),
            asked.get("row", "0"),
            asked.get("room", ""),
            asked.get("mix", ""),
            *[asked.get("data", names[0] if names else "")] * 2,
            *(asked.get(key, "") for key in ("run", "compare", "job", "merge", "predict")),
            model,
            gr.update(choices=models, value=_first_of(models, pages.predict.model.value)),
            gr.update(choices=_adapters(services), value=_first_of(_adapters(services), None)),
            gr.update(choices=services.models.bases(), value=_base(services)),
            gr.update(choices=services.data.collection.sources()),
            gr.update(choices=services.models.grouped(), value=resident or _first_of(models, None)),
            *status_of(services, say),
        )

    def fill(run: str, job: str, folded: str, predicted: str, request: gr.Request) -> tuple[Any, ...]:
        return pages.plugins.show(services, voice_of(request)), f"{run} ", f"{job} ", f"{folded} ", f"{predicted} "

    widgets = pages.train.form.widgets
    outputs = [
        pages.header, pages.tabs, pages.data.row, pages.data.room, pages.data.mix.mix, pages.data.chosen,
        pages.data.current,
        pages.train.run, pages.train.compare, pages.jobs.panel.job,
        pages.merge.panel.job, pages.predict.panel.job, pages.data.model, pages.predict.model, pages.merge.adapter,
        widgets["model.name"], widgets["data.sources"], pages.chat.model, *pages.chat.shown,
    ]  # fmt: skip
    ended = [pages.train.panel.ended, pages.jobs.panel.ended, pages.merge.panel.ended, pages.predict.panel.ended]
    jobs_shown = [pages.train.run, pages.jobs.panel.job, pages.merge.panel.job, pages.predict.panel.job]
    demo.load(route, pages.query, outputs, js="() => camelid.arrived", **PRIVATE).then(
        fill, jobs_shown, [pages.plugins.shown, *ended], **PRIVATE
    )


def _adapters(services: Services) -> list[str]:
    return [entry.name for entry in services.merging.adapters()]


def _first_of(names: list[str], preferred: Any) -> Any:
    return preferred if preferred in names else (names[0] if names else None)


def _base(services: Services) -> str:
    """The model a new run starts from: the recipe's own default if it is here, else any that is."""
    here = [entry.name for entry in services.models.all() if entry.kind == "model"]
    default = Recipe().model.name
    return default if default in here or not here else here[-1]
