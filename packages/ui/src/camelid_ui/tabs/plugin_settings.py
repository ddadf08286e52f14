"""Settings of plugins on the Plugins page: a closed form for each plugin that can be set up.

Knows widgets. What is stored is `services.plugins`. A secret is typed and never shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.config_help import text_of
from camelid_core.errors import CamelidError
from camelid_core.plugin_settings import PluginSettings

from camelid_ui.config_form import ConfigForm
from camelid_ui.field_values import InvalidFields
from camelid_ui.i18n import Translator, t, translator_for
from camelid_ui.services import Services
from camelid_ui.views import error, esc

from . import PRIVATE
from .components import error_message, panel


@dataclass(frozen=True)
class SettingsForm:
    """The form of one plugin, and the notice under it."""

    name: str
    form: ConfigForm[Any]
    notice: gr.HTML

    @property
    def outputs(self) -> list[Any]:
        return [*self.form.inputs, self.notice]

    def fill(self, services: Services, say: Translator) -> list[Any]:
        """Updates for `outputs` that show what is stored, and what the environment overrides."""
        try:
            stored, variables = services.plugins.stored(self.name), services.plugins.overridden(self.name)
        except CamelidError as problem:
            return [*(gr.skip() for _ in self.form.inputs), error_message(problem)]
        text = say("plugins.overridden", names=", ".join(variables)) if variables else ""
        return [*self.form.fill(stored), f'<p class="camelid-note">{esc(text)}</p>' if text else ""]


def build(services: Services) -> list[SettingsForm]:
    """Nothing where nothing may be changed: settings name places on the server's machine."""
    if not services.profile.allow_changes:
        return []
    return [_build_form(each, services) for each in services.plugins.settings()]


def _build_form(settings: PluginSettings[Any], services: Services) -> SettingsForm:
    ident = f"plugin-{settings.name}"
    with gr.Accordion(settings.name, open=False, elem_id=f"{ident}-settings", elem_classes="camelid-drawer"):
        form = ConfigForm(settings.config, ident)
        with gr.Row(elem_classes="camelid-fields"):
            for (
                key,
                field,
            ) in settings.config.model_fields.items():  # its help is no text of ours that has a translation
                form.add_fields(key, info=text_of(field))
        with gr.Row(elem_classes="camelid-actions"):
            save = gr.Button(t("plugins.save"), elem_id=f"{ident}-save")
        made = SettingsForm(settings.name, form, panel(elem_id=f"{ident}-notice"))

    def store(request: gr.Request, *values: Any) -> tuple[Any, ...]:
        say = translator_for(request)
        try:
            services.plugins.save(settings.name, form.config(values))
        except InvalidFields as problem:
            return *form.mark_errors(problem)[1], error(str(problem))
        except CamelidError as problem:
            return *(gr.skip() for _ in form.inputs), error_message(problem)
        *fields, note = made.fill(services, say)
        return *fields, f'<p class="camelid-note">{esc(say("plugins.saved"))}</p>{note}'

    save.click(store, form.inputs, made.outputs, **PRIVATE)
    return made
