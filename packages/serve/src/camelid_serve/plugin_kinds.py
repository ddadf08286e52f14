"""The kinds of plugins that serving has hooks for."""

from __future__ import annotations

from camelid_core.plugin_kit.plugin_kind import PluginKind

KINDS = (
    PluginKind(
        name="engine",
        help="An engine: token ids in, a stream of token ids out.",
        hook="camelid_engines",
        skeleton="camelid_serve:skeletons/engine",
        listing="camelid plugins list",
        needs=("camelid-core", "camelid-serve"),
    ),
)
