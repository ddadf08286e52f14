"""The kinds of plugins that need core alone."""

from __future__ import annotations

from camelid_core.plugin_kit.plugin_kind import PluginKind

KINDS = (
    PluginKind(
        "model",
        "A model family: how its models are recognised, their prompt template and where LoRA goes.",
        "camelid_model_adapters",
        "camelid_core:skeletons/model",
        "camelid models list",
        test_needs=("camelid-core[torch]",),
    ),
    PluginKind(
        "template",
        "A prompt template: how a conversation is written for a model.",
        "camelid_prompt_templates",
        "camelid_core:skeletons/template",
        "camelid templates list",
        test_needs=("camelid-core[torch]",),
    ),
    PluginKind(
        "dataset",
        "A dataset that its own code makes.",
        "camelid_datasets",
        "camelid_core:skeletons/dataset",
        "camelid datasets list",
    ),
    PluginKind(
        "reader",
        "A format of data files: which columns its rows have, and how they become records.",
        "camelid_readers",
        "camelid_core:skeletons/reader",
        "camelid plugins list",
    ),
)
