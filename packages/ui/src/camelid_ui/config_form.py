"""Knobs ↔ Gradio widgets: a form for any configuration class.

Knows which widget shows which kind of knob, and where an error goes. Knows no particular class:
no widget is listed by hand that the class already says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic

import gradio as gr
from camelid_core.config import Config, ConfigT

from .field_values import Invalid, ConfigField, build, config_fields, values_of
from .text import t, t_field

FieldChoices = Mapping[str, Callable[[], Sequence[Any]]]
"""Where a text knob names something installed: what there is to choose, asked for when the page opens."""


def words(classes: Iterable[type[Config]]) -> dict[str, str]:
    """What classes say about their fields, for the browser's table of words."""
    found: dict[str, str] = {}
    for cls in classes:
        for knob in config_fields(cls):
            found[f"label.{knob.path}"] = knob.title
            found[f"help.{knob.key}"] = _help(knob)
    return found


def limits(classes: Iterable[type[Config]]) -> dict[str, str]:
    """The bounds of each field that has any, by the key of its help."""
    return {f"help.{knob.key}": knob.bounds for cls in classes for knob in config_fields(cls) if knob.bounds}


@dataclass
class ConfigForm(Generic[ConfigT]):
    """Widgets for `cls` by the knobs' keys, in the order they were laid out."""

    cls: type[ConfigT]
    ident: str
    choices: FieldChoices = field(default_factory=dict)
    widgets: dict[str, Any] = field(default_factory=dict)

    def place(self, *keys: str, **options: Any) -> None:
        """Lay these knobs out here."""
        for knob in config_fields(self.cls):
            if knob.key in keys:
                self.widgets[knob.key] = self._widget(knob, **options)

    def drawer(self, without: Collection[str] = ()) -> gr.Accordion:
        """All knobs not laid out yet in a closed drawer, by section, with a search box."""
        rest = [knob for knob in config_fields(self.cls) if knob.key not in self.widgets and knob.key not in without]
        with gr.Accordion(t("form.more"), open=False, elem_classes="camelid-drawer") as drawer:
            if len(rest) > 8:
                gr.HTML(t("form.find"), html_template=_FIND_BOX, js_on_load=_FIND, elem_id=f"find-{self.ident}")
            for section in dict.fromkeys(knob.section for knob in rest):
                with gr.Column(elem_classes="camelid-section"):
                    if section:
                        gr.HTML(f'<h4 class="camelid-section-name">{section}</h4>')
                    with gr.Row(elem_classes="camelid-knobs"):
                        for knob in rest:
                            if knob.section == section:
                                self.widgets[knob.key] = self._widget(knob)
        return drawer

    def follow(self, **options: Any) -> None:
        """Of a section with several forms, show only the knobs of the chosen one."""
        placed = self._placed()
        for head in dict.fromkeys(knob.head for knob in placed if knob.head in self.widgets):
            mine = [knob for knob in placed if knob.head == head]
            widgets = [self.widgets[knob.key] for knob in mine]
            self.widgets[head].change(_fitting(mine), self.widgets[head], widgets, **options)

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
        return [self.show(knob.key, values[knob.key]) for knob in self._placed()]

    def show(self, key: str, value: Any) -> Any:
        """An update for one widget that shows `value`."""
        knob = next(knob for knob in config_fields(self.cls) if knob.key == key)
        choices = {"choices": list(self.choices[key]())} if key in self.choices else {}
        return gr.update(value=value if choices or knob.choices else _shown(knob, value), **choices)

    def mark(self, error: Invalid | None, before: Collection[str] = ()) -> tuple[list[str], list[Any]]:
        """Which knobs are wrong now, and updates for `inputs` that say so at each; `before` were wrong last time."""
        found = {knob.key: _error_at(knob, error.errors if error else {}) for knob in self._placed()}
        wrong = [key for key, text in found.items() if text]
        touched = {*wrong, *before}
        updates = [_marked(k, found[k.key]) if k.key in touched else gr.skip() for k in self._placed()]
        return wrong, updates

    def other_errors(self, error: Invalid) -> str:
        """Errors that belong to no field on the page."""
        return "\n".join(
            f"{path}: {text}"
            for path, text in error.errors.items()
            if not any(_covers(k.path, path) for k in self._placed())
        )

    def _placed(self) -> list[ConfigField]:
        known = {knob.key: knob for knob in config_fields(self.cls)}
        return [known[key] for key in self.widgets]

    def _form_at_first(self, knob: ConfigField) -> Any:
        return next((other.default for other in config_fields(self.cls) if other.key == knob.head), None)

    def _widget(self, knob: ConfigField, **options: Any) -> Any:
        shared = {
            "label": t_field(knob.path, "label", knob.title),
            "info": t_field(knob.key, "help", _help(knob)),
            "value": _shown(knob, knob.default),
            "visible": knob.fits(self._form_at_first(knob)),
            "elem_id": f"{self.ident}-{re.sub('[.@]', '-', knob.key)}",
            "elem_classes": ["camelid-knob"],
            "min_width": 200,
            **options,
        }
        if knob.kind == "choice":
            return gr.Dropdown(list(self.choices.get(knob.key, lambda: knob.choices)()), **shared)
        if knob.key in self.choices or knob.choices:
            return self._choice(knob, shared)
        if knob.kind == "flag":
            return gr.Checkbox(**shared)
        if knob.kind in ("whole", "number") and not knob.optional:  # Gradio's number field knows no empty
            return gr.Number(**shared)
        if knob.kind in ("lines", "pairs"):
            return gr.Textbox(lines=1, max_lines=6, **shared)
        return gr.Textbox(**shared)

    def _choice(self, knob: ConfigField, shared: dict[str, Any]) -> Any:
        many = knob.kind == "lines"
        known = self.choices.get(knob.key)
        value = knob.default if many else shared["value"]
        return gr.Dropdown(
            list(known() if known else knob.choices),
            multiselect=many,
            allow_custom_value=known is not None,
            filterable=True,
            **shared | {"value": value},
        )


def _fitting(mine: Sequence[ConfigField]) -> Callable[[Any], Any]:
    def shown(form: Any) -> Any:
        updates = [gr.update(visible=knob.fits(form)) for knob in mine]
        return updates if len(updates) > 1 else updates[0]

    return shown


def _help(knob: ConfigField) -> str:
    return f"{knob.help} ({knob.bounds})" if knob.bounds else knob.help


def _shown(knob: ConfigField, value: Any) -> Any:
    if knob.kind == "lines" and not isinstance(value, str):
        return "\n".join(value or [])
    if knob.kind == "pairs" and not isinstance(value, str):
        return "\n".join(f"{name}={each}" for name, each in (value or {}).items())
    return str(value) if knob.optional and isinstance(value, int | float) else value


def _covers(path: str, reported: str) -> bool:
    """Reports go deeper than fields (`data.sources.0`) or carry a variant's tag (`method.lora.r`)."""
    section, _, name = path.rpartition(".")
    parts = reported.split(".")
    return (
        reported == path or reported.startswith(f"{path}.") or (section == ".".join(parts[:-2]) and name == parts[-1])
    )


def _error_at(knob: ConfigField, errors: Mapping[str, str]) -> str:
    return next((text for path, text in errors.items() if _covers(knob.path, path)), "")


def _marked(knob: ConfigField, error: str) -> Any:
    if error:
        return gr.update(info=error, elem_classes=["camelid-knob", "camelid-invalid"])
    return gr.update(info=t_field(knob.key, "help", _help(knob)), elem_classes=["camelid-knob"])


_FIND_BOX = '<input type="search" class="camelid-find" placeholder="${value}" aria-label="${value}">'
_FIND = """
const box = element.querySelector('input');
box.addEventListener('input', () => {
  const wanted = box.value.trim().toLowerCase();
  const drawer = element.closest('.camelid-drawer');
  drawer.querySelectorAll('.camelid-knob').forEach(knob => {
    const words = (knob.textContent + ' ' + knob.id).toLowerCase();
    knob.style.display = !wanted || words.includes(wanted) ? '' : 'none';
  });
});
"""
