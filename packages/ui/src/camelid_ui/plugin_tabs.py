"""Tabs of plugins, contained: one that cannot be built is a sentence on its page, a handler that fails a sentence in a
toast, and one that exits does not take the server along.

Knows the handlers of Gradio's apps. Knows nothing of what is on a tab.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError, PluginError
from camelid_core.plugin_faults import error_sentence
from gradio.context import get_blocks_context

from .services import Services
from .tab_names import BUILT_IN_TABS
from .tabs import Tab
from .tabs.components import panel
from .views import error as error_view
from .views import esc

_FAILURES = (Exception, SystemExit)


def plugin_tabs(services: Services) -> list[Tab]:
    """Those with a name of their own; a tab named like a built-in one is left out and listed among the problems."""
    tabs = services.host.registry("camelid_tabs")
    for tab in tabs:
        if tab.name in BUILT_IN_TABS:
            error = PluginError(
                f"a built-in tab is called so; the plugin must take none of {', '.join(BUILT_IN_TABS)}."
            )
            services.host.report(tabs.plugin_of(tab.name), error, f"tab {tab.name!r}")
    return [tab for tab in tabs if tab.name not in BUILT_IN_TABS]


def build_plugin_tab(tab: Tab, services: Services) -> None:
    """Lay out a plugin's tab inside the current one; if that fails, the sentence why."""
    owner = services.host.registry("camelid_tabs").plugin_of(tab.name)
    app = get_blocks_context()
    earlier = set(app.fns) if app is not None else set()
    message = ""
    with gr.Column() as column:
        try:
            tab.build(services)
        except _FAILURES as error:
            services.host.report(owner, error, f"tab {tab.name!r}")
            message = f"{owner}: {error_sentence(error)}"
    for number, handler in app.fns.items() if app is not None else ():
        if number not in earlier and handler.fn is not None:
            handler.fn = contained(handler.fn, owner)
    if message:
        column.visible = False  # what it had laid out before
        panel(error_view(message), elem_classes="camelid-failed-tab")


def contained(handler: Callable[..., Any], owner: str) -> Callable[..., Any]:
    """`handler`, whose errors are sentences with the plugin's name; of any kind that Gradio calls."""

    @functools.wraps(handler)
    def called(*values: Any, **named: Any) -> Any:
        with _failures_of(owner):
            return handler(*values, **named)

    @functools.wraps(handler)
    def streaming(*values: Any, **named: Any) -> Iterator[Any]:
        with _failures_of(owner):
            yield from handler(*values, **named)

    @functools.wraps(handler)
    async def awaited(*values: Any, **named: Any) -> Any:
        with _failures_of(owner):
            return await handler(*values, **named)

    @functools.wraps(handler)
    async def awaited_streaming(*values: Any, **named: Any) -> AsyncIterator[Any]:
        with _failures_of(owner):
            async for result in handler(*values, **named):
                yield result

    if inspect.isasyncgenfunction(handler):
        return awaited_streaming
    if inspect.iscoroutinefunction(handler):
        return awaited
    return streaming if inspect.isgeneratorfunction(handler) else called


@contextmanager
def _failures_of(owner: str) -> Iterator[None]:
    try:
        yield
    except gr.Error:  # its own words
        raise
    except _FAILURES as error:
        sentence = str(error) if isinstance(error, CamelidError) else f"{owner}: {error_sentence(error)}"
        raise gr.Error(esc(sentence)) from error
