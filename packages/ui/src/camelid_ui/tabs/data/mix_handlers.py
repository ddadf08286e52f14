"""Handlers of the mixture builder: fields and address → a mixture, its shares at every change, saving it as a dataset.

Knows handlers and how the address writes sources. The components are in `mix`; what is done is
`services.data.mix`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from typing import Any

import gradio as gr
from camelid_core.config import validate
from camelid_core.datasets.dataset import Source
from camelid_core.errors import CamelidError
from camelid_core.mixing import Mixture

from camelid_ui.i18n import Translator, translator_for
from camelid_ui.services import Services
from camelid_ui.services.background_work import BackgroundWork
from camelid_ui.services.data.mix import MAX_SOURCES, source_text
from camelid_ui.tabs import EACH, LATEST, PRIVATE
from camelid_ui.tabs.components import changed_field, error_message, field_values_of, progress_of, request_first
from camelid_ui.views import code, error
from camelid_ui.views.data import mix as view

from .mix import MixturePanel

WAIT = 1.5
SEPARATOR = ","
"""Between sources in the address; no dataset name contains it."""


def mixture(
    mix: str, caps: dict[str, int], temperature: float | None, rows: str, deduplicate: str, tags: list[str],
    lints: list[str],
) -> Mixture:  # fmt: skip
    """The page's settings as a mixture.

    Raises:
        ConfigError: naming what does not fit.
    """
    names = {source.name for source in sources_of(mix)}
    values = {
        "sources": [part for part in mix.split(SEPARATOR) if part],
        "caps": {name: cap for name, cap in caps.items() if name in names},
        "temperature": temperature or 1.0,
        "rows": rows.strip() or None,
        "deduplicate": deduplicate,
        "drop_tags": tags or [],
        "drop_lints": lints or [],
    }
    return validate(Mixture, values, "the mixture")


def sources_of(mix: str) -> list[Source]:
    """Raises UsageError: a weight that cannot be, in an address that was typed."""
    return [Source.parse(part) for part in mix.split(SEPARATOR) if part]


def with_source(mix: str, name: str) -> str:
    """One more source, unless it is in there already or there are too many."""
    sources = sources_of(mix)
    if not name or len(sources) >= MAX_SOURCES or any(source.name == name for source in sources):
        return mix
    return SEPARATOR.join(part for part in (mix, name) if part)


def with_fields(mix: str, fields: Mapping[str, str], without: str = "") -> tuple[str, dict[str, int]]:
    """The mix and its caps as the fields of the sources' list say, `weight:NAME` and `cap:NAME`: a source that has no
    fields yet, and a field that holds no number, leave all as it is."""
    sources = [source for source in sources_of(mix) if source.name != without]
    weights = {source.name: _number(fields.get(f"weight:{source.name}", ""), source.weight) for source in sources}
    caps = {source.name: _number(fields.get(f"cap:{source.name}", "")) for source in sources}
    text = SEPARATOR.join(source_text(name, min(100.0, max(0.01, weight))) for name, weight in weights.items())
    return text, {name: max(1, int(cap)) for name, cap in caps.items() if cap is not None}


def _number(text: str, otherwise: Any = None) -> Any:
    with suppress(ValueError):
        return number if isfinite(number := float(text)) else otherwise
    return otherwise


@dataclass(frozen=True)
class _Handlers:
    services: Services

    def lay_out(self, mix: str, caps: dict[str, int], laid_out: str, request: gr.Request) -> tuple[Any, ...]:
        """The list of sources, redrawn only when its sources change: fields keep what was typed, and the cursor."""
        try:
            sources = sources_of(mix)
        except CamelidError as problem:
            return error_message(problem), gr.skip(), gr.skip(), mix
        names = [source.name for source in sources]
        if SEPARATOR.join(names) == laid_out:
            return gr.skip(), gr.skip(), gr.skip(), laid_out
        shown = [(s.name, s.weight, caps.get(s.name), self._rows(s.name)) for s in sources]
        free = [name for name in self.services.data.collection.names() if name not in names]
        pick = gr.update(choices=free, value=None)
        tags = gr.update(choices=self.services.data.mix.tags(names))
        return view.sources(shown, translator_for(request)), pick, tags, SEPARATOR.join(names)

    def set_part(self, mix: str, event: gr.EventData) -> tuple[str, dict[str, int]]:
        kind, _, name = changed_field(event)[0].partition(":")
        return with_fields(mix, field_values_of(event), without=name if kind == "remove" else "")

    def plan(self, *values: Any, request: gr.Request) -> tuple[Any, ...]:
        """Shares, the equivalent command, and whether it can be used and saved."""
        off, say = gr.update(interactive=False), translator_for(request)
        if not values[0]:
            return "", "", off, off
        try:
            made = mixture(*values)
            parts = self.services.data.mix.plan(made)
        except CamelidError as problem:
            return error_message(problem), "", off, off
        filtered = made.deduplicate != "no" or bool(made.drop_tags or made.drop_lints)
        can = gr.update(interactive=not any(part.missing for part in parts))
        line = code(self.services.data.mix.command(made), say("train.command"), say("copy"))
        return view.shares(parts, filtered, say), line, can, can

    def save(self, name: str, *values: Any, request: gr.Request) -> tuple[Any, ...]:
        say = translator_for(request)
        if not name.strip():
            return error(say("mix.name_first")), "", gr.Timer(active=False)
        try:
            work = self.services.data.mix.save(mixture(*values), name).wait(WAIT)
        except CamelidError as problem:
            return error_message(problem), "", gr.Timer(active=False)
        return _progress_or_result(work, name.strip(), say)

    def watch(self, name: str, request: gr.Request) -> tuple[Any, ...]:
        work = self.services.data.mix.saving(name)
        return (
            ("", "", gr.Timer(active=False))
            if work is None
            else _progress_or_result(work, name, translator_for(request))
        )

    def _rows(self, name: str) -> int:
        try:
            return self.services.data.collection.find(name).rows
        except CamelidError:
            return 0  # the plan reports it


def _progress_or_result(work: BackgroundWork, name: str, say: Translator) -> tuple[Any, ...]:
    shown = view.saved(work.result, say) if work.state == "done" else progress_of(work, say)
    return shown, name, gr.Timer(active=work.running)


def wire(widgets: MixturePanel, services: Services) -> None:
    do = _Handlers(services)
    laid_out = gr.State(" ")
    parts, result = [widgets.mix, widgets.caps], [widgets.shares, widgets.command, widgets.use, widgets.save]
    plan = request_first(do.plan)
    widgets.pick.input(with_source, [widgets.mix, widgets.pick], widgets.mix, **LATEST)
    widgets.mix.change(
        do.lay_out, [*parts, laid_out], [widgets.sources, widgets.pick, widgets.drop_tags, laid_out], **PRIVATE
    )
    widgets.sources.input(do.set_part, widgets.mix, parts, **EACH).then(plan, widgets.choices, result, **LATEST)
    others = [widgets.temperature, widgets.rows, widgets.deduplicate, widgets.drop_tags, widgets.drop_lints]
    changes = [widgets.mix.change, *(each.change for each in others)]
    gr.on(changes, plan, widgets.choices, result, **LATEST)
    saving = [widgets.notice, widgets.working, widgets.timer]
    widgets.save.click(request_first(do.save), [widgets.name, *widgets.choices], saving, **PRIVATE)
    widgets.timer.tick(do.watch, widgets.working, saving, **PRIVATE)
