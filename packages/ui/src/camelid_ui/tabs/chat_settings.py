"""Settings beside a conversation: system prompt presets, reasoning prompts as chips, and sampling parameters.

Knows its widgets and the sampling form. The presets are in `camelid_serve.presets`.
"""

from __future__ import annotations

import json
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError
from camelid_serve.engine import Sampling
from camelid_serve.presets import OWN, PRESETS, SUFFIXES, SYSTEMS, has_suffix, with_suffix, without_suffix

from camelid_ui.config_form import ConfigForm
from camelid_ui.i18n import t, translator_for
from camelid_ui.services import Services
from camelid_ui.views import esc, note

from . import EACH, LATEST, PRIVATE
from .components import changed_field, controls, error_message, panel

_PRESET_OF_TEXT = f"text => ({json.dumps({text.text: name for name, text in SYSTEMS.items()})})[text] ?? null"
"""The name of the system prompt preset that is in the field, if any."""
_UNCHANGED = ("seed", "stop")
"""Sampling parameters that a preset does not change."""


def build(services: Services, *, message_box: gr.Textbox, system: gr.Textbox, form: ConfigForm[Sampling]) -> None:
    """Lays the drawer of `form` out too: a preset fills it."""
    texts = gr.Dropdown(
        [(t(f"systems.{name}"), name) for name in SYSTEMS], value=None, label=t("settings.system"),
        elem_id="chat-system-preset",
    )  # fmt: skip
    panel(t("settings.suffixes"), elem_classes="camelid-labelled")
    chips = controls(_chips(), elem_id="chat-suffixes")
    preset = gr.Dropdown(list(PRESETS), value=None, label=t("settings.preset"), elem_id="chat-preset")
    about = panel(elem_id="chat-preset-about")
    form.add_drawer(without=("num_beams",))  # answers stream here
    form.show_needed_fields(**LATEST)

    def toggle(draft: str, event: gr.EventData) -> Any:
        suffix = SUFFIXES.get(changed_field(event)[1])
        if suffix is None:
            return gr.skip()
        add = without_suffix if has_suffix(draft, suffix.text) else with_suffix
        return add(draft, suffix.text)

    def choose(name: str | None, request: gr.Request) -> tuple[Any, ...]:
        if name is None or name not in PRESETS:
            return "", *[gr.skip()] * len(form.inputs)
        try:
            recommended = _recommended(services) if name == OWN else None
        except CamelidError as problem:
            return error_message(problem), *[gr.skip()] * len(form.inputs)
        about_preset = translator_for(request).optional(f"preset.{name}", PRESETS[name].help)
        return note(about_preset), *_filled(form, PRESETS[name].applied(Sampling(), recommended))

    chips.input(toggle, message_box, message_box, **EACH)
    texts.input(lambda name: SYSTEMS[name].text if name in SYSTEMS else "", texts, system, **LATEST)
    system.change(None, system, texts, js=_PRESET_OF_TEXT, **PRIVATE)
    preset.input(choose, preset, [about, *form.inputs], **LATEST)
    changed = [widget.input for key, widget in form.widgets.items() if key not in _UNCHANGED]
    gr.on(changed, None, None, [preset, about], js="() => [null, '']", **PRIVATE)


def _recommended(services: Services) -> Sampling:
    """The sampling parameters that the makers of the loaded model recommend; greedy decoding without a model."""
    loaded = services.chat.status.model
    return services.chat.sampling(loaded) if loaded else Sampling()


def _filled(form: ConfigForm[Sampling], sampling: Sampling) -> list[Any]:
    return [
        gr.skip() if key in _UNCHANGED else update
        for key, update in zip(form.widgets, form.fill(sampling), strict=True)
    ]


def _chips() -> str:
    """Their texts are sent to the model, and so they are never translated."""
    texts = {esc(name): esc(suffix.text) for name, suffix in SUFFIXES.items()}
    buttons = "".join(
        f'<button type="button" data-set="suffix" value="{name}" title="{text}">{text}</button>'
        for name, text in texts.items()
    )
    return f'<div class="camelid-suffixes">{buttons}</div>'
