"""All pages as one Gradio app, and the buttons that lead from page to page.

Knows how it is put together. Knows nothing of what is on the pages.
"""

from __future__ import annotations

from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError
from camelid_core.mixing import Mixture
from camelid_serve.config import PredictConfig
from camelid_serve.engine import Sampling
from camelid_train.config import Recipe
from camelid_train.export.merge_config import MergeConfig

from . import deep_links
from .config_form import field_bounds, field_texts
from .disabled_controls import disable_controls
from .field_values import flat
from .guarded_blocks import GuardedBlocks
from .i18n import translations
from .pages import Pages, build_pages
from .services import Services
from .tabs import PRIVATE, merge
from .tabs.data import mix_handlers

CONFIG_CLASSES = (Recipe, MergeConfig, PredictConfig, Sampling)


def build_app(services: Services) -> gr.Blocks:
    """The whole app; `field_texts` of all forms are in `browser_translations()`."""
    with GuardedBlocks(title="Camelid", analytics_enabled=False, fill_width=True) as demo:
        pages = build_pages(services)
        _link_pages(pages, services)
        deep_links.wire(demo, pages, services)
        disable_controls(demo, services.profile)
    # concurrency 1 for each handler: responses come in the order of the requests, and each sees what the last one left
    demo.queue(max_size=services.profile.queue_size, default_concurrency_limit=1, api_open=False)
    return demo


def browser_translations() -> Any:
    return translations(field_texts(CONFIG_CLASSES), field_bounds(CONFIG_CLASSES))


def _link_pages(pages: Pages, services: Services) -> None:
    """The buttons that lead from one page to the next."""

    def train_on_dataset(name: str) -> tuple[Any, ...]:
        try:
            return to_training(Mixture(sources=[services.data.collection.show(name).source]))
        except CamelidError:
            return (gr.skip(),) * (len(mixed) + 3)  # the dataset is gone, which the page says

    def train_on_mixture(*values: Any) -> tuple[Any, ...]:
        try:
            return to_training(mix_handlers.mixture(*values))
        except CamelidError:
            return (gr.skip(),) * (len(mixed) + 3)  # shown where the mixture is

    def to_training(mixture: Mixture) -> tuple[Any, ...]:
        return gr.Tabs(selected="train"), "", "", *(form.value_update(path, flat(mixture)[path[5:]]) for path in mixed)

    def open_chat(run: str) -> tuple[Any, Any]:
        artefact = services.training.show(int(run)).artefact
        return gr.Tabs(selected="chat"), gr.update(value=artefact, choices=services.models.grouped())

    def open_merge(run: str) -> tuple[Any, Any]:
        artefact = services.training.show(int(run)).artefact
        return gr.Tabs(selected="merge"), gr.update(value=artefact, choices=merge.adapters(services))

    form, widgets = pages.train.form, pages.train.form.widgets
    mixed = [path for name in Mixture.model_fields if (path := f"data.{name}") in widgets]
    training = [pages.tabs, pages.train.run, pages.train.compare, *(widgets[path] for path in mixed)]
    pages.data.bottom.use.click(train_on_dataset, pages.data.chosen, training, **PRIVATE)
    pages.data.mix.use.click(train_on_mixture, pages.data.mix.choices, training, **PRIVATE)
    pages.train.panel.chat.click(open_chat, pages.train.run, [pages.tabs, pages.chat.model], **PRIVATE)
    pages.train.panel.merge.click(open_merge, pages.train.run, [pages.tabs, pages.merge.adapter], **PRIVATE)
