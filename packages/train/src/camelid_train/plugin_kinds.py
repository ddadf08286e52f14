"""The kinds of plugins that training has hooks for."""

from __future__ import annotations

from camelid_core.plugin_kit.plugin_kind import PluginKind

_NEEDS = ("camelid-core", "camelid-train")

KINDS = (
    PluginKind(
        name="method",
        help="A tuning method: which weights learn, and what is saved of them.",
        hook="camelid_tuning_methods",
        skeleton="camelid_train:skeletons/method",
        listing="camelid train --help",
        needs=_NEEDS,
    ),
    PluginKind(
        name="objective",
        help="An objective: what the loss of a run rewards.",
        hook="camelid_objectives",
        skeleton="camelid_train:skeletons/objective",
        listing="camelid train --help",
        needs=_NEEDS,
    ),
    PluginKind(
        name="exporter",
        help="An exporter: a format that a model can be written in.",
        hook="camelid_exporters",
        skeleton="camelid_train:skeletons/exporter",
        listing="camelid export --help",
        needs=_NEEDS,
    ),
)
