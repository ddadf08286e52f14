"""pluggy's hook markers: specifications carry `hookspec`, plugins' implementations `hookimpl`. Knows no hook."""

from __future__ import annotations

import pluggy

API_VERSION = 1
"""A plugin module may say `CAMELID_API = 1`; another number is reported and the plugin left out."""

hookspec = pluggy.HookspecMarker("camelid")
hookimpl = pluggy.HookimplMarker("camelid")
