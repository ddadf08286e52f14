"""The kinds of plugins that need core alone."""

from __future__ import annotations

from camelid_core.plugin_kit.plugin_kind import PluginKind

KINDS = (
    PluginKind(
        name="model",
        help="A model family: how its models are recognised, their prompt template and where LoRA goes.",
        hook="camelid_model_adapters",
        skeleton="camelid_core:skeletons/model",
        listing="camelid models list",
        test_needs=("camelid-core[torch]",),
    ),
    PluginKind(
        name="template",
        help="A prompt template: how a conversation is written for a model.",
        hook="camelid_prompt_templates",
        skeleton="camelid_core:skeletons/template",
        listing="camelid templates list",
        test_needs=("camelid-core[torch]",),
    ),
    PluginKind(
        name="dataset",
        help="A dataset that its own code makes.",
        hook="camelid_datasets",
        skeleton="camelid_core:skeletons/dataset",
        listing="camelid datasets list",
    ),
    PluginKind(
        name="reader",
        help="A format of data files: which columns its rows have, and how they become records.",
        hook="camelid_readers",
        skeleton="camelid_core:skeletons/reader",
        listing="camelid plugins list",
    ),
)
