"""Configuration fields ↔ Gradio widgets: a form for any configuration class.

Knows which widget shows which kind of field, and where an error goes. Knows no particular class:
no widget is listed by hand that the class already says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic

import gradio as gr
from camelid_core.config import Config, ConfigT

from .config_fields import ConfigField, config_fields
from .field_values import InvalidFields, build, values_of
from .i18n import t, t_field
from .needed_fields import Need, needs_among

FieldChoices = Mapping[str, Callable[[], Sequence[Any]]]
"""For text fields that name something installed: what there is to choose, looked up when the page opens."""


def field_texts(classes: Iterable[type[Config]]) -> dict[str, str]:
    """Labels and help texts of the fields of these classes, for the browser's table of texts."""
    found: dict[str, str] = {}
    for cls in classes:
        for config_field in config_fields(cls):
            found[f"label.{config_field.path}"] = config_field.title
            found[f"help.{config_field.key}"] = _help(config_field)
    return found


def field_bounds(classes: Iterable[type[Config]]) -> dict[str, str]:
    """The bounds of each field that has any, by the key of its help."""
    return {
        f"help.{config_field.key}": config_field.bounds
        for cls in classes
        for config_field in config_fields(cls)
        if config_field.bounds
    }


@dataclass
class ConfigForm(Generic[ConfigT]):
    """Widgets for `cls` by the fields' keys, in the order they were laid out."""

    cls: type[ConfigT]
    ident: str
    choices: FieldChoices = field(default_factory=dict)
    widgets: dict[str, Any] = field(default_factory=dict)

    def add_fields(self, *keys: str, **options: Any) -> None:
        """Lay these fields out here."""
        for config_field in config_fields(self.cls):
            if config_field.key in keys:
                self.widgets[config_field.key] = self._widget(config_field, **options)

    def add_drawer(self, without: Collection[str] = ()) -> gr.Accordion:
        """All fields not laid out yet in a closed accordion, by section, with a search box."""
        rest = [
            config_field
            for config_field in config_fields(self.cls)
            if config_field.key not in self.widgets and config_field.key not in without
        ]
        with gr.Accordion(t("form.more"), open=False, elem_classes="camelid-drawer") as drawer:
            if len(rest) > 8:
                gr.HTML(
                    t("form.find"), html_template=_SEARCH_BOX, js_on_load=_SEARCH_SCRIPT, elem_id=f"find-{self.ident}"
                )
            for section in dict.fromkeys(config_field.section for config_field in rest):
                with gr.Column(elem_classes="camelid-section"):
                    if section:
                        gr.HTML(f'<h4 class="camelid-section-name">{section}</h4>')
                    with gr.Row(elem_classes="camelid-fields"):
                        for config_field in rest:
                            if config_field.section == section:
                                self.widgets[config_field.key] = self._widget(config_field)
        return drawer

    def show_chosen_variant(self, **options: Any) -> None:
        """Of a section with several variants, show only the fields of the chosen one."""
        placed = self._shown_fields()
        for head in dict.fromkeys(
            config_field.type_path for config_field in placed if config_field.type_path in self.widgets
        ):
            mine = [config_field for config_field in placed if config_field.type_path == head]
            widgets = [self.widgets[config_field.key] for config_field in mine]
            self.widgets[head].change(_variant_visibility(mine), self.widgets[head], widgets, **options)

    def show_needed_fields(self, **options: Any) -> None:
        """Of fields that mean something only under another one, show those that do."""
        for need, heads in self._needs():
            widgets = [self.widgets[key] for key in need.fields]
            changes = [each.change for each in (self.widgets[need.head], *widgets)]
            gr.on(changes, _needed_visibility(need, heads), [self.widgets[need.head], *widgets], widgets, **options)

    def _needs(self) -> list[tuple[Need, dict[str, Any]]]:
        """Those whose fields are all here, with what the widgets of the fields hold by default."""
        known = {each.key: _widget_value(each, each.default) for each in config_fields(self.cls)}
        return [(need, {key: known[key] for key in need.fields}) for need in needs_among(self.widgets)]

    @property
    def inputs(self) -> list[Any]:
        return list(self.widgets.values())

    def config(self, values: Sequence[Any], **fixed: Any) -> ConfigT:
        """The configuration that the widgets' `values` make, in the order of `inputs`.

        Raises:
            Invalid: with one sentence per field that does not fit.
        """
        return build(self.cls, {**dict(zip(self.widgets, values, strict=True)), **fixed})

    def fill(self, config: ConfigT) -> list[Any]:
        """Updates for `inputs` that show `config`; a field that this config has not keeps its default."""
        values = values_of(config)
        return [self.value_update(config_field.key, values[config_field.key]) for config_field in self._shown_fields()]

    def value_update(self, key: str, value: Any) -> Any:
        """An update for one widget that shows `value`."""
        config_field = next(config_field for config_field in config_fields(self.cls) if config_field.key == key)
        choices = {"choices": list(self.choices[key]())} if key in self.choices else {}
        return gr.update(
            value=value if choices or config_field.choices else _widget_value(config_field, value), **choices
        )

    def mark_errors(self, error: InvalidFields | None, before: Collection[str] = ()) -> tuple[list[str], list[Any]]:
        """Which fields are wrong now, and updates for `inputs` that say so at each; `before` were wrong last time."""
        found = {
            config_field.key: _error_at(config_field, error.errors if error else {})
            for config_field in self._shown_fields()
        }
        wrong = [key for key, text in found.items() if text]
        touched = {*wrong, *before}
        updates = [_error_update(k, found[k.key]) if k.key in touched else gr.skip() for k in self._shown_fields()]
        return wrong, updates

    def other_errors(self, error: InvalidFields) -> str:
        """Errors that belong to no field on the page."""
        return "\n".join(
            f"{path}: {text}"
            for path, text in error.errors.items()
            if not any(_path_covers(k.path, path) for k in self._shown_fields())
        )

    def _shown_fields(self) -> list[ConfigField]:
        known = {config_field.key: config_field for config_field in config_fields(self.cls)}
        return [known[key] for key in self.widgets]

    def _default_type(self, config_field: ConfigField) -> Any:
        return next((other.default for other in config_fields(self.cls) if other.key == config_field.type_path), None)

    def _widget(self, config_field: ConfigField, **options: Any) -> Any:
        shared = {
            "label": t_field(config_field.path, "label", config_field.title),
            "info": t_field(config_field.key, "help", _help(config_field)),
            "value": _widget_value(config_field, config_field.default),
            "visible": config_field.belongs_to(self._default_type(config_field))
            and _needed_by_default(self.cls, config_field),
            "elem_id": f"{self.ident}-{re.sub('[.@]', '-', config_field.key)}",
            "elem_classes": ["camelid-field"],
            "min_width": 200,
            **options,
        }
        if config_field.kind == "choice":
            return gr.Dropdown(list(self.choices.get(config_field.key, lambda: config_field.choices)()), **shared)
        if config_field.key in self.choices or config_field.choices:
            return self._dropdown(config_field, shared)
        if config_field.kind == "boolean":
            return gr.Checkbox(**shared)
        if (
            config_field.kind in ("integer", "number") and not config_field.optional
        ):  # Gradio's number field knows no empty
            return gr.Number(**shared)
        if config_field.kind in ("lines", "pairs"):
            return gr.Textbox(lines=1, max_lines=6, **shared)
        return gr.Textbox(**shared, **({"type": "password"} if config_field.secret else {}))

    def _dropdown(self, config_field: ConfigField, shared: dict[str, Any]) -> Any:
        many = config_field.kind == "lines"
        known = self.choices.get(config_field.key)
        value = config_field.default if many else shared["value"]
        return gr.Dropdown(
            list(known() if known else config_field.choices),
            multiselect=many,
            allow_custom_value=known is not None,
            filterable=True,
            **shared | {"value": value},
        )


def _variant_visibility(mine: Sequence[ConfigField]) -> Callable[[Any], Any]:
    def shown(form: Any) -> Any:
        updates = [gr.update(visible=config_field.belongs_to(form)) for config_field in mine]
        return updates if len(updates) > 1 else updates[0]

    return shown


def _needed_visibility(need: Need, defaults: Mapping[str, Any]) -> Callable[..., Any]:
    def shown(head: Any, *values: Any) -> Any:
        found = need.shown(head, dict(zip(need.fields, values, strict=True)), defaults)
        updates = [gr.update(visible=each) for each in found]
        return updates if len(updates) > 1 else updates[0]

    return shown


def _needed_by_default(cls: type[Config], config_field: ConfigField) -> bool:
    defaults = {each.key: each.default for each in config_fields(cls)}
    return all(need.holds(defaults[need.head]) for need in needs_among(defaults) if config_field.key in need.fields)


def _help(config_field: ConfigField) -> str:
    return f"{config_field.help} ({config_field.bounds})" if config_field.bounds else config_field.help


def _widget_value(config_field: ConfigField, value: Any) -> Any:
    if config_field.kind == "lines" and not isinstance(value, str):
        return "\n".join(value or [])
    if config_field.kind == "pairs" and not isinstance(value, str):
        return "\n".join(f"{name}={each}" for name, each in (value or {}).items())
    return str(value) if config_field.optional and isinstance(value, int | float) else value


def _path_covers(path: str, reported: str) -> bool:
    """Reports go deeper than fields (`data.sources.0`) or carry a variant's tag (`method.lora.r`)."""
    section, _, name = path.rpartition(".")
    parts = reported.split(".")
    return (
        reported == path or reported.startswith(f"{path}.") or (section == ".".join(parts[:-2]) and name == parts[-1])
    )


def _error_at(config_field: ConfigField, errors: Mapping[str, str]) -> str:
    return next((text for path, text in errors.items() if _path_covers(config_field.path, path)), "")


def _error_update(config_field: ConfigField, error: str) -> Any:
    if error:
        return gr.update(info=error, elem_classes=["camelid-field", "camelid-invalid"])
    return gr.update(info=t_field(config_field.key, "help", _help(config_field)), elem_classes=["camelid-field"])


_SEARCH_BOX = '<input type="search" class="camelid-find" placeholder="${value}" aria-label="${value}">'
_SEARCH_SCRIPT = """
const box = element.querySelector('input');
box.addEventListener('input', () => {
  const wanted = box.value.trim().toLowerCase();
  const drawer = element.closest('.camelid-drawer');
  drawer.querySelectorAll('.camelid-field').forEach(field => {
    const words = (field.textContent + ' ' + field.id).toLowerCase();
    field.style.display = !wanted || words.includes(wanted) ? '' : 'none';
  });
});
"""
