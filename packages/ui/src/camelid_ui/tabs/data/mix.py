"""The mixture builder: datasets with weights and caps, their shares, and buttons to use or save the mixture.

Knows its components; their handlers are in `mix_handlers`. The sources are in the address.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.quality import LINTS

from camelid_ui.i18n import t, t_optional
from camelid_ui.tabs.components import controls, panel


@dataclass(frozen=True)
class MixturePanel:
    """`mix` has the sources as the address shows them; `caps` source → maximum rows."""

    mix: gr.Textbox
    caps: gr.State
    pick: gr.Dropdown
    sources: gr.HTML
    temperature: gr.Number
    rows: gr.Textbox
    deduplicate: gr.Radio
    drop_tags: gr.Dropdown
    drop_lints: gr.Dropdown
    shares: gr.HTML
    command: gr.HTML
    use: gr.Button
    name: gr.Textbox
    save: gr.Button
    notice: gr.HTML
    close: gr.Button
    working: gr.State
    timer: gr.Timer

    @property
    def choices(self) -> list[Any]:
        """All settings of the mixture, as inputs."""
        return [
            self.mix, self.caps, self.temperature, self.rows, self.deduplicate, self.drop_tags, self.drop_lints
        ]  # fmt: skip


def build(mix: gr.Textbox) -> MixturePanel:
    with gr.Row(elem_classes="camelid-section-row"):
        panel(t("mix.title"), elem_classes="camelid-title")
        close = gr.Button(t("data.close"), elem_id="data-mix-close", size="sm", min_width=80)
    panel(t("mix.lead"), elem_classes="camelid-lead")
    pick = gr.Dropdown([], value=None, label=t("mix.pick"), elem_id="mix-pick", filterable=True)
    sources = controls(elem_id="mix-sources")
    with gr.Row(elem_classes="camelid-fields"):
        temperature = gr.Number(
            1, label=t("mix.temperature"), info=t("mix.temperature_help"), minimum=1, elem_id="mix-temperature"
        )
        rows = gr.Textbox(label=t("mix.rows"), info=t("mix.rows_help"), elem_id="mix-rows")
        tags = gr.Dropdown(
            [], value=[], multiselect=True, allow_custom_value=True, label=t("mix.drop_tags"),
            info=t("mix.drop_tags_help"), elem_id="mix-drop-tags",
        )  # fmt: skip
        lints = gr.Dropdown(
            [(t_optional(f"lint.{name}", name), name) for name in LINTS], value=[], multiselect=True,
            label=t("mix.drop_lints"), info=t("mix.drop_lints_help"), elem_id="mix-drop-lints",
        )  # fmt: skip
    deduplicate = gr.Radio(
        [(t(f"mix.copies_{each}"), each) for each in ("no", "exact", "near")],
        value="no", label=t("mix.copies"), elem_id="mix-deduplicate",
    )  # fmt: skip
    shares = panel(elem_id="mix-shares")
    command = panel(elem_id="mix-command")
    with gr.Row(elem_classes="camelid-actions"):
        use = gr.Button(t("data.use"), variant="primary", elem_id="mix-use", interactive=False)
        name = gr.Textbox(
            label=t("mix.name"), placeholder="my-mix", elem_id="mix-name", min_width=160, elem_classes="camelid-inline"
        )
        save = gr.Button(t("mix.save"), elem_id="mix-save", interactive=False)
    notice = panel(elem_id="mix-notice")
    return MixturePanel(
        mix=mix, caps=gr.State({}), pick=pick, sources=sources, temperature=temperature, rows=rows,
        deduplicate=deduplicate, drop_tags=tags, drop_lints=lints, shares=shares, command=command, use=use, name=name,
        save=save, notice=notice, close=close, working=gr.State(""), timer=gr.Timer(1.0, active=False),
    )  # fmt: skip
