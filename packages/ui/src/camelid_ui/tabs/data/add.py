"""Adding data: a file, its detected format, its column mapping, its first rows, a name; then into the collection.

Knows its components; their handlers are in `add_handlers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.readers import COMPRESSED_SUFFIXES, SUFFIXES

from camelid_ui.i18n import t
from camelid_ui.services.data.add import LICENCES, ROLES, readers
from camelid_ui.tabs.components import panel

FIRST_ROLES = ("instruction", "input", "output", "system", "messages")
"""Columns that most files have; the others are folded away."""


@dataclass(frozen=True)
class AddPanel:
    """`roles` are dropdowns of the file's columns; `seen` is the file that was read last, `working` the name
    of the dataset that is being written."""

    file: gr.File
    path: gr.Textbox
    detected: gr.HTML
    steps: gr.Column
    reader: gr.Dropdown
    mapping: gr.Column
    roles: dict[str, gr.Dropdown]
    strict: gr.Radio
    preview: gr.HTML
    name: gr.Textbox
    licence: gr.Dropdown
    add: gr.Button
    notice: gr.HTML
    close: gr.Button
    seen: gr.State
    working: gr.State
    timer: gr.Timer

    @property
    def how(self) -> list[Any]:
        """How to read the file, as inputs."""
        return [self.file, self.path, self.reader, self.strict, *self.roles.values()]

    @property
    def shown(self) -> list[Any]:
        return [
            self.seen,
            self.detected,
            self.steps,
            self.reader,
            self.mapping,
            self.preview,
            self.name,
            *self.roles.values(),
        ]


def build() -> AddPanel:
    with gr.Row(elem_classes="camelid-section-row"):
        panel(t("data.add"), elem_classes="camelid-title")
        close = gr.Button(t("data.close"), elem_id="data-add-close", size="sm", min_width=80)
    panel(t("add.lead"), elem_classes="camelid-lead")
    file = gr.File(
        label=t("data.file"), file_types=[*SUFFIXES, *COMPRESSED_SUFFIXES], height=110, elem_id="data-file",
        elem_classes="camelid-file",
        show_label=False,
    )  # fmt: skip
    path = gr.Textbox(
        label=t("data.path"), placeholder="/data/rows.jsonl", info=t("data.path_help"), elem_id="data-path"
    )
    detected = panel(elem_id="data-detected")
    with gr.Column(visible=False) as steps:
        reader = gr.Dropdown(_readers(), value="", label=t("add.reader"), elem_id="data-reader")
        with gr.Column(visible=False, elem_id="data-mapping") as mapping:
            panel(t("add.mapping"), elem_classes="camelid-cardname")
            with gr.Row(elem_classes="camelid-fields"):
                roles = {role: _role(role) for role in FIRST_ROLES}
            with gr.Accordion(t("add.more_roles"), open=False), gr.Row(elem_classes="camelid-fields"):
                roles |= {role: _role(role) for role in ROLES if role not in FIRST_ROLES}
        strict = gr.Radio(
            [(t("add.strict"), "strict"), (t("add.lenient"), "lenient")],
            value="strict", label=t("add.faulty"), elem_id="data-strict",
        )  # fmt: skip
        panel(t("add.preview"), elem_classes="camelid-cardname")
        preview = panel(elem_id="data-preview")
    with gr.Row(elem_classes="camelid-fields"):
        name = gr.Textbox(label=t("data.new_name"), info=t("data.new_name_help"), elem_id="data-name")
        licence = gr.Dropdown(
            list(LICENCES), value="unknown", label=t("data.licence"), info=t("add.licence_help"),
            allow_custom_value=True, elem_id="data-licence",
        )  # fmt: skip
    with gr.Row(elem_classes="camelid-actions"):
        add = gr.Button(t("data.add_button"), variant="primary", elem_id="data-add-button")
    notice = panel(elem_id="data-add-notice")
    return AddPanel(
        file=file, path=path, detected=detected, steps=steps, reader=reader, mapping=mapping, roles=roles,
        strict=strict, preview=preview, name=name, licence=licence, add=add, notice=notice, close=close,
        seen=gr.State(""),
        working=gr.State(""), timer=gr.Timer(1.0, active=False),
    )  # fmt: skip


def _readers() -> list[tuple[Any, str]]:
    return [(t("add.as_detected"), ""), *((name, name) for name in readers())]


def _role(role: str) -> gr.Dropdown:
    return gr.Dropdown(
        [], value=None, label=t(f"role_of.{role}"), elem_id=f"data-role-{role}", min_width=140, allow_custom_value=True
    )
