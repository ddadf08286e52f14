"""The Merge & export page: an adapter to merge into its base model, the formats to export to, and what was made.

Knows its components. What they do is `services.merge` and `services.exports`; `export` is the form of the formats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError
from camelid_train.export.merge_config import MergeConfig

from camelid_ui.config_form import ConfigForm
from camelid_ui.field_values import InvalidFields
from camelid_ui.i18n import Translator, t, translator_for
from camelid_ui.services import Services
from camelid_ui.services.exports import MADE
from camelid_ui.services.jobs import JobView
from camelid_ui.views import code, empty, error, facts
from camelid_ui.views import jobs as jobs_view
from camelid_ui.views.numbers import size
from camelid_ui.views.proof import proof

from . import LATEST, PRIVATE, export, export_result
from .components import SELECTED_KEY, address, error_message, panel, selectable
from .export import ExportForm
from .job import POLL_SECONDS, JobPanel, build_job

_PROOF = ("logit_difference", "adapter_effect", "layer_difference", "layer_effect")
"""What a merge measured, of the whole model or of its layers."""


@dataclass(frozen=True)
class MergeTab:
    form: ConfigForm[MergeConfig]
    panel: JobPanel
    estimate: gr.HTML
    command: gr.HTML
    start: gr.Button
    notice: gr.HTML
    list: gr.HTML
    export: ExportForm
    timer: gr.Timer

    @property
    def adapter(self) -> Any:
        return self.form.widgets["adapter"]


def adapters(services: Services) -> list[str]:
    """The adapters that can be merged."""
    return [entry.name for entry in services.merge.adapters()]


def build(services: Services) -> MergeTab:
    job = address("merge")
    panel(t("merge.title"), elem_classes="camelid-heading")
    form = ConfigForm(MergeConfig, "merge", {"adapter": lambda: adapters(services)})
    with gr.Row(equal_height=False):
        with gr.Column(scale=7, min_width=320):
            form.add_fields("adapter")
            form.add_fields("dtype", label=t("merge.dtype"))
            with gr.Row(elem_classes="camelid-actions"):
                start = gr.Button(t("merge.start"), variant="primary", interactive=False, elem_id="merge-start")
            notice = panel(elem_id="merge-notice")
            form.add_drawer()
        with gr.Column(scale=4, min_width=260, elem_classes="camelid-card"):
            panel(t("merge.estimate"), elem_classes="camelid-cardname")
            estimate = panel(elem_id="merge-estimate")
    command = panel(elem_id="merge-command")
    panel(t("export.title"), elem_classes="camelid-heading")
    exports = export.build()
    shown = build_job(job, "merge-job")
    made = export_result.build()
    panel(t("merge.done"), elem_classes="camelid-heading")
    timer = gr.Timer(POLL_SECONDS, active=False)
    tab = MergeTab(form, shown, estimate, command, start, notice, selectable(elem_id="merge-list"), exports, timer)
    _wire(tab, services)
    export.wire(exports, services, job)
    export_result.wire(made, services, shown)
    return tab


def _wire(tab: MergeTab, services: Services) -> None:
    def check(request: gr.Request, *values: Any) -> tuple[Any, ...]:
        say = translator_for(request)
        if not services.merge.adapters() and not values[0]:
            return empty(say("merge.none"), say("merge.none_hint")), "", gr.update(interactive=False)
        if not values[0]:
            return empty(say("merge.choose")), "", gr.update(interactive=False)
        try:
            config = tab.form.config(values)
            return _estimate(services, config, say), _command(services, config, say), gr.update(interactive=True)
        except CamelidError as problem:
            return error_message(problem), "", gr.update(interactive=False)

    def start_job(*values: Any) -> tuple[Any, ...]:
        try:
            job = services.merge.start(tab.form.config(values))
        except InvalidFields as problem:
            return gr.skip(), error(str(problem)), *tab.form.mark_errors(problem)[1]
        except CamelidError as problem:
            return gr.skip(), error_message(problem), *tab.form.mark_errors(None)[1]
        return str(job.id), "", *tab.form.mark_errors(None)[1]

    def listed(chosen: str, request: gr.Request) -> tuple[str, gr.Timer]:
        say = translator_for(request)
        views = services.exports.all()
        shown = jobs_view.table(views, say, chosen) if views else empty(say("merge.no_jobs"))
        return shown, gr.Timer(active=any(view.running for view in views))

    checked = [tab.estimate, tab.command, tab.start]
    gr.on(
        [widget.change for widget in tab.form.inputs],
        check,
        tab.form.inputs,
        checked,
        **LATEST,
    )
    tab.start.click(start_job, tab.form.inputs, [tab.panel.job, tab.notice, *tab.form.inputs], **PRIVATE)
    tab.panel.wire(services, _result)
    tab.list.select(None, None, tab.panel.job, js=SELECTED_KEY, **PRIVATE)
    changes = [tab.panel.job.change, tab.panel.state_changed.change, tab.timer.tick]
    gr.on(changes, listed, tab.panel.job, [tab.list, tab.timer], **LATEST)


def _estimate(services: Services, config: MergeConfig, say: Translator) -> str:
    found = services.merge.estimate(config)
    shown = facts(
        [
            (say("merge.base"), found.base),
            (say("merge.size"), say("train.about", value=size(found.size))),
            (say("merge.disk"), size(found.free)),
            (say("merge.memory"), say("train.about", value=size(found.memory))),
        ],
        wide=True,
    )
    return (
        shown if found.fits else shown + error(say("merge.too_big", size=size(found.size * 2), free=size(found.free)))
    )


def _command(services: Services, config: MergeConfig, say: Translator) -> str:
    return code(services.merge.command(config), say("train.command"), say("copy"))


def _result(services: Services, view: JobView, say: Translator) -> str:
    job = view.job
    summary = job.summary
    found = services.exports.proof(job)
    proved = proof(found, say) if found else ""
    if job.task not in MADE:
        return proved + "".join(code(line, say("merge.load"), say("copy")) for line in summary.get("load", []))
    if not job.published:
        return ""
    measured = [(say(f"merge.{name}"), f"{summary[name]:.2g}") for name in _PROOF if name in summary]
    stored = [(say("merge.size"), size(summary["size"]))] if "size" in summary else []
    path = code(job.published, say("merge.path"), say("copy"))
    load = code(services.exports.load_line(job), say("merge.load"), say("copy"))
    return facts(measured + stored) + path + load + proved
