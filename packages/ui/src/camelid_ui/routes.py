"""Which addresses the pages have, and how many bytes each takes: what is not listed here is not there.

Gradio brings many routes that no page of ours uses: a proxy, an editor of code, links to stored states. Knows paths.
Knows nothing of what lies behind them.
"""

from __future__ import annotations

from camelid_serve.http.asgi import Scope
from camelid_serve.http.guard import SAFE

from .access_profile import Profile

OPEN = ("/health", "/favicon.ico")
OPEN_UNDER = ("/assets/", "/static/")
"""Open to all: these hold no one's data."""

_API = "/gradio_api"
_READ = ("/", "/config", "/theme.css", "/manifest.json", "/robots.txt", *OPEN, f"{_API}/startup-events")
_READ_UNDER = ("/svelte/", "/download/", f"{_API}/queue/data", f"{_API}/heartbeat/", *OPEN_UNDER)
_PLUGINS_READ = (f"{_API}/custom_component/", f"{_API}/stream/")
_UPLOADED = (f"{_API}/file=", f"{_API}/upload_progress")
_EVENTS = (f"{_API}/queue/join", f"{_API}/run/predict")
"""Of handlers that wait for their turn, and of those that stop what runs and must not wait."""
_UPLOAD = f"{_API}/upload"
_SMALL = (f"{_API}/cancel", f"{_API}/reset")
_PLUGINS_SEND = (f"{_API}/component_server", f"{_API}/stream/")
"""What components of plugins' pages may need."""

_LITTLE = 65_536
_FORM = 1_000_000
"""Bytes of a small message, and of a form around its files."""


def bound(profile: Profile, method: str, path: str) -> int | None:
    """Most bytes of a request's body; None where there is no such route."""
    if method in SAFE:
        return _LITTLE if _is_read(profile, path) else None
    if method != "POST":
        return None
    if path in _EVENTS:
        return profile.request_bytes
    if path in _SMALL:
        return _LITTLE
    if not profile.changes:
        return None
    if path == _UPLOAD:
        return profile.upload_bytes + _FORM
    return profile.request_bytes if path.startswith(_PLUGINS_SEND) else None


def is_static(scope: Scope) -> bool:
    """What is the same for everybody: it costs little, and a page is made of a hundred files."""
    return scope["method"] in SAFE and scope["path"].startswith((*OPEN, *OPEN_UNDER, "/svelte/", "/theme.css"))


def _is_read(profile: Profile, path: str) -> bool:
    if path in _READ or path.startswith(_READ_UNDER):
        return True
    if not profile.changes:
        return False  # nothing can be uploaded there, and no plugin's page has a file of its own
    if path.startswith(_UPLOADED):
        return "://" not in path and not path.startswith(f"{_API}/file=//")
    return path.startswith(_PLUGINS_READ)
