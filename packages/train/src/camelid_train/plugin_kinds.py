"""The kinds of plugins that training has hooks for."""

from __future__ import annotations

from camelid_core.plugin_kit.plugin_kind import PluginKind

_NEEDS = ("camelid-core", "camelid-train")

KINDS = (
    PluginKind(
        "method",
        "A tuning method: which weights learn, and what is saved of them.",
        "camelid_tuning_methods",
        "camelid_train:skeletons/method",
        "camelid train --help",
        _NEEDS,
    ),
    PluginKind(
        "objective",
        "An objective: what the loss of a run rewards.",
        "camelid_objectives",
        "camelid_train:skeletons/objective",
        "camelid train --help",
        _NEEDS,
    ),
    PluginKind(
        "exporter",
        "An exporter: a format that a model can be written in.",
        "camelid_exporters",
        "camelid_train:skeletons/exporter",
        "camelid export --help",
        _NEEDS,
    ),
)
