"""Pieces that pages share: selectable listings, addresses, errors, asking back.

Knows Gradio. Knows no page.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError

from camelid_ui import views
from camelid_ui.i18n import Translator, t
from camelid_ui.services.background_work import BackgroundWork

from . import PRIVATE

_SELECT = """
element.addEventListener('click', event => {
  if (event.target.closest('[data-open-tab], a[download], [data-set], label')) return;
  const row = event.target.closest('[data-key]');
  if (!row || event.metaKey || event.ctrlKey) return;
  event.preventDefault();
  camelid.picked = row.dataset.key;
  trigger('select', {value: row.dataset.key});
});
"""
SELECTED_KEY = "() => camelid.picked"
"""The key of what was chosen last, for a handler in the browser alone."""

_CONTROLS = """
let held = '';  // a field keeps the keyboard's attention when the page draws it anew
element.addEventListener('focusin', event => {
  const {set, key} = event.target.dataset, value = CSS.escape(event.target.value ?? '');
  held = set ? `[data-set="${CSS.escape(set)}"]:is(select, [value="${value}"])`
    : key ? `a[data-key="${CSS.escape(key)}"]` : '';
});
element.addEventListener('focusout', event => { if (event.target.isConnected) held = ''; });
new MutationObserver(() => {
  if (held && document.activeElement === document.body) element.querySelector(held)?.focus({preventScroll: true});
}).observe(element, {childList: true, subtree: true});
const tell = field => {
  const fields = [...element.querySelectorAll('input[data-set], select[data-set]')];
  const filled = fields.filter(each => each.type !== 'radio' || each.checked);
  camelid.told = {value: field.value, checked: field.checked};
  trigger('input', {value: {
    name: field.dataset.set, value: field.value,
    fields: Object.fromEntries(filled.map(each => [each.dataset.set, each.value])),
  }});
};
element.addEventListener('change', event => {
  const field = event.target.closest('input[data-set], select[data-set]');
  if (field) tell(field);
});
element.addEventListener('click', event => {
  const button = event.target.closest('button[data-set]');
  if (button) tell(button);
});
"""


def panel(value: str = "", **options: Any) -> gr.HTML:
    """HTML of ours."""
    return gr.HTML(value, js_on_load=None, **options)


def selectable(value: str = "", **options: Any) -> gr.HTML:
    """HTML whose elements with `data-key` can be chosen; `.select` tells which through `SELECTED_KEY` or `selected_key`."""
    return gr.HTML(value, js_on_load=_SELECT, **options)


def controls(value: str = "", script: str = "", **options: Any) -> gr.HTML:
    """HTML with keys to choose and with fields of its own: `.input` tells which through `changed_field` and what
    all of them hold through `field_values_of`; `script` is what it does besides."""
    return gr.HTML(value, js_on_load=_SELECT + _CONTROLS + script, **options)


def changed_field(event: gr.EventData) -> tuple[str, str]:
    """Name and value of the field that was changed."""
    value = _value(event)
    return (str(value.get("name", "")), str(value.get("value", ""))) if isinstance(value, dict) else ("", "")


def field_values_of(event: gr.EventData) -> dict[str, str]:
    """What all fields hold, by name. Who goes by this alone loses nothing, whichever events overlap."""
    value = _value(event)
    fields = value.get("fields") if isinstance(value, dict) else None
    return {str(name): str(each) for name, each in fields.items()} if isinstance(fields, dict) else {}


def selected_key(event: gr.EventData) -> str:
    return str(_value(event) or "")


def _value(event: gr.EventData) -> Any:
    return event._data.get("value") if isinstance(event._data, dict) else None


def working(work: BackgroundWork, say: Translator) -> str:
    """How far some work is, and its error where it failed; nothing once it is done."""
    if work.state == "failed":
        return views.error(work.error)
    if not work.running:
        return ""
    return views.progress(work.done, work.total, work.eta, say, (work.item or "…") if work.unit == "bytes" else "")


def hidden_box(ident: str) -> gr.Textbox:
    """A value that the browser holds and nobody sees.

    What a page polls with is held like this, not as a `gr.State`: an answer that comes late, after that to a later
    question, puts both the page and this back, and so the next poll puts both right. A state would know better than
    the page, and leave it wrong for ever.
    """
    return gr.Textbox("", elem_classes="camelid-hidden", elem_id=ident, show_label=False, container=False)


def address(name: str) -> gr.Textbox:
    """What the page shows, kept where the address bar is kept in step with it."""
    box = hidden_box(f"address-{name}")
    box.change(None, [box], None, js=f"value => {{ camelid.address({{{name}: value}}); }}", api_visibility="private")
    return box


def message(error: BaseException) -> str:
    """An error as a page shows it: ours as its sentence, anything else as one too, never as a traceback."""
    return views.error(str(error) if isinstance(error, CamelidError) else f"{type(error).__name__}: {error}")


def job_action_handler(action: Callable[[int], object]) -> Callable[[str], str]:
    """A handler that asks something of the job whose number it gets, and says what went wrong."""

    def handler(number: str) -> str:
        try:
            action(int(number))
        except (CamelidError, ValueError) as problem:
            return message(problem)
        return ""

    return handler


def request_first(handler: Callable[..., Any]) -> Callable[..., Any]:
    """For handlers of a whole form: Gradio fills in the request, which must then stand before `*values`."""

    def called(request: gr.Request, *values: Any) -> Any:
        return handler(*values, request=request)

    return called


@dataclass(frozen=True)
class ConfirmedButton:
    """A button that asks back before it does what cannot be undone; `yes.click` is the deed, and `option` what
    may be ticked for it to do as well."""

    ask: gr.Button
    row: gr.Row
    yes: gr.Button
    option: gr.Checkbox

    def hidden(self) -> tuple[Any, Any]:
        """Updates for `ask` and `row` where there is nothing to ask."""
        return gr.update(visible=False), gr.update(visible=False)


def confirmed_button(
    label: Any, question: Any, yes: Any, ident: str, visible: bool = True, option: Any = ""
) -> ConfirmedButton:
    ask = gr.Button(label, elem_id=ident, visible=visible)
    with gr.Row(visible=False, elem_classes="camelid-actions") as row:
        panel(question, elem_classes="camelid-question")
        box = gr.Checkbox(False, label=option, visible=bool(option), container=False, elem_id=f"{ident}-option")
        sure = gr.Button(yes, variant="stop", elem_id=f"{ident}-yes")
        keep = gr.Button(t("confirm.no"), elem_id=f"{ident}-no")
    shown: Any = (gr.update(visible=False), gr.update(visible=True))
    closed: Any = (gr.update(visible=True), gr.update(visible=False))
    ask.click(lambda: shown, None, [ask, row], **PRIVATE)
    keep.click(lambda: closed, None, [ask, row], **PRIVATE)
    return ConfirmedButton(ask, row, sure, box)
