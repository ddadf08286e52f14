"""The kinds of plugins that serving has hooks for."""

from __future__ import annotations

from camelid_core.plugin_kit.plugin_kind import PluginKind

KINDS = (
    PluginKind(
        "engine",
        "An engine: token ids in, a stream of token ids out.",
        "camelid_engines",
        "camelid_serve:skeletons/engine",
        "camelid plugins list",
        ("camelid-core", "camelid-serve"),
    ),
)
