"""Components that pages share: selectable HTML, fields in HTML, addresses, errors, confirmation.

Knows Gradio. Knows no page.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError
from camelid_core.plugin_faults import error_sentence

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
  camelid.selectedKey = row.dataset.key;
  trigger('select', {value: row.dataset.key});
});
"""
KEEP_OPEN = """
const open = {};  // what a person opened or closed stays so when the page is redrawn
element.addEventListener('toggle', ({target}) => {
  if (target.dataset.part && target.isConnected) open[target.dataset.part] = target.open;
}, true);
new MutationObserver(() => {
  for (const each of element.querySelectorAll('details[data-part]')) {
    const wanted = open[each.dataset.part] ?? each.open;
    if (each.open !== wanted) each.open = wanted;
  }
}).observe(element, {childList: true, subtree: true});
"""
"""A script for HTML with `details`."""

SELECTED_KEY = "() => camelid.selectedKey"
"""The key of the row selected last, for a handler that runs in the browser alone."""

_CONTROLS = """
let focused = '';  // a field keeps the focus when the page is redrawn
element.addEventListener('focusin', event => {
  const {set, key} = event.target.dataset, value = CSS.escape(event.target.value ?? '');
  focused = set ? `[data-set="${CSS.escape(set)}"]:is(select, [value="${value}"])`
    : key ? `a[data-key="${CSS.escape(key)}"]` : '';
});
element.addEventListener('focusout', event => { if (event.target.isConnected) focused = ''; });
new MutationObserver(() => {
  const now = document.activeElement;  // of a row that moved, what is drawn now may be another row's
  if (!focused || (now !== document.body && (!element.contains(now) || now.matches(focused)))) return;
  element.querySelector(focused)?.focus({preventScroll: true});
}).observe(element, {childList: true, subtree: true, attributeFilter: ['data-set', 'data-key']});
const report = field => {
  const fields = [...element.querySelectorAll('input[data-set], select[data-set]')];
  const filled = fields.filter(each => each.type !== 'radio' || each.checked);
  camelid.changedField = {value: field.value, checked: field.checked};
  trigger('input', {value: {
    name: field.dataset.set, value: field.value,
    fields: Object.fromEntries(filled.map(each => [each.dataset.set, each.value])),
  }});
};
element.addEventListener('change', event => {
  const field = event.target.closest('input[data-set], select[data-set]');
  if (field) report(field);
});
element.addEventListener('click', event => {
  const button = event.target.closest('button[data-set]');
  if (button) report(button);
});
"""


def panel(value: str = "", **options: Any) -> gr.HTML:
    """HTML made by `views`."""
    return gr.HTML(value, js_on_load=None, **options)


def selectable(value: str = "", script: str = "", **options: Any) -> gr.HTML:
    """HTML whose elements with `data-key` can be selected; `.select` says which through `SELECTED_KEY` or
    `selected_key`; `script` is JavaScript that it runs as well."""
    return gr.HTML(value, js_on_load=_SELECT + script, **options)


def controls(value: str = "", script: str = "", **options: Any) -> gr.HTML:
    """HTML with selectable keys and with fields of its own: `.input` says which changed through `changed_field` and
    what all of them contain through `field_values_of`; `script` is JavaScript that it runs as well."""
    return gr.HTML(value, js_on_load=_SELECT + _CONTROLS + script, **options)


def changed_field(event: gr.EventData) -> tuple[str, str]:
    """Name and value of the field that was changed."""
    value = _value(event)
    return (str(value.get("name", "")), str(value.get("value", ""))) if isinstance(value, dict) else ("", "")


def field_values_of(event: gr.EventData) -> dict[str, str]:
    """The values of all fields, by name; complete in each event, so that overlapping events lose nothing."""
    value = _value(event)
    fields = value.get("fields") if isinstance(value, dict) else None
    return {str(name): str(each) for name, each in fields.items()} if isinstance(fields, dict) else {}


def selected_key(event: gr.EventData) -> str:
    return str(_value(event) or "")


def _value(event: gr.EventData) -> Any:
    return event._data.get("value") if isinstance(event._data, dict) else None


def progress_of(work: BackgroundWork, say: Translator) -> str:
    """Progress of background work as HTML, or its error where it failed; empty once it is done."""
    if work.state == "failed":
        return views.error(work.error)
    if not work.running:
        return ""
    return views.progress(work.done, work.total, work.eta, say, (work.item or "…") if work.unit == "bytes" else "")


def hidden_box(ident: str) -> gr.Textbox:
    """A hidden textbox: a value that the browser holds.

    What a page polls with is kept like this, not as a `gr.State`: a late response, after that to a later
    request, resets both the page and this value, and so the next poll corrects both. A state would differ from
    the page, and leave it wrong.
    """
    return gr.Textbox("", elem_classes="camelid-hidden", elem_id=ident, show_label=False, container=False)


def address(name: str) -> gr.Textbox:
    """A hidden value that is kept in step with the query of the page's address."""
    box = hidden_box(f"address-{name}")
    box.change(None, [box], None, js=f"value => {{ camelid.address({{{name}: value}}); }}", api_visibility="private")
    return box


def error_message(error: BaseException) -> str:
    """An error as HTML: one sentence, never a traceback."""
    return views.error(str(error) if isinstance(error, CamelidError) else error_sentence(error))


def job_action_handler(action: Callable[[int], object]) -> Callable[[str], str]:
    """A handler that performs `action` on the job whose number it gets; returns an error message or nothing."""

    def handler(number: str) -> str:
        try:
            action(int(number))
        except (CamelidError, ValueError) as problem:
            return error_message(problem)
        return ""

    return handler


def request_first(handler: Callable[..., Any]) -> Callable[..., Any]:
    """For handlers of a whole form: Gradio passes the request, which must come before `*values`."""

    def called(request: gr.Request, *values: Any) -> Any:
        return handler(*values, request=request)

    return called


@dataclass(frozen=True)
class ConfirmedButton:
    """A button with a confirmation for what cannot be undone; `yes.click` is the action, and `option` what
    may be ticked to be done as well."""

    ask: gr.Button
    row: gr.Row
    yes: gr.Button
    option: gr.Checkbox

    def hidden(self) -> tuple[Any, Any]:
        """Updates for `ask` and `row` where there is nothing to confirm."""
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
