"""Allow-list of the routes of the pages, with the largest request body of each: any other path is not found.

Gradio brings many routes that no page uses: a proxy, a code editor, links to stored states. Knows paths. Knows nothing
of their handlers.
"""

from __future__ import annotations

from camelid_serve.http.asgi import Scope
from camelid_serve.http.guard import SAFE

from .access_profile import Profile

PUBLIC_PATHS = ("/health", "/favicon.ico")
PUBLIC_PREFIXES = ("/assets/", "/static/")
"""Served without a token: they hold nobody's data."""

METRICS_PATH = "/metrics"
"""Numbers for a monitor; not where the pages are public."""
_API = "/gradio_api"
_READ_PATHS = ("/", "/config", "/theme.css", "/manifest.json", "/robots.txt", *PUBLIC_PATHS, f"{_API}/startup-events")
_READ_PREFIXES = ("/svelte/", "/download/", "/jobs/", f"{_API}/queue/data", f"{_API}/heartbeat/", *PUBLIC_PREFIXES)
_PLUGIN_READ_PREFIXES = (f"{_API}/custom_component/", f"{_API}/stream/")
_UPLOAD_READ_PREFIXES = (f"{_API}/file=", f"{_API}/upload_progress")
_EVENT_PATHS = (f"{_API}/queue/join", f"{_API}/run/predict")
"""Of handlers that go through the queue, and of those that stop something and must not wait."""
_UPLOAD_PATH = f"{_API}/upload"
_SMALL_BODY_PATHS = (f"{_API}/cancel", f"{_API}/reset")
_PLUGIN_WRITE_PREFIXES = (f"{_API}/component_server", f"{_API}/stream/")
"""What components on plugins' pages may need."""

_SMALL_BODY_BYTES = 65_536
_MULTIPART_OVERHEAD_BYTES = 1_000_000
"""Largest small request body, and what a multipart form adds around its files."""


def max_body_bytes(profile: Profile, method: str, path: str) -> int | None:
    """Largest request body in bytes; None where there is no such route."""
    if method in SAFE:
        return _SMALL_BODY_BYTES if _is_read(profile, path) else None
    if method != "POST":
        return None
    if path in _EVENT_PATHS:
        return profile.max_request_bytes
    if path in _SMALL_BODY_PATHS:
        return _SMALL_BODY_BYTES
    if not profile.allow_changes:
        return None
    if path == _UPLOAD_PATH:
        return profile.max_upload_bytes + _MULTIPART_OVERHEAD_BYTES
    return profile.max_request_bytes if path.startswith(_PLUGIN_WRITE_PREFIXES) else None


def is_static(scope: Scope) -> bool:
    """Static files: they cost little, and a page loads a hundred of them."""
    return scope["method"] in SAFE and scope["path"].startswith(
        (*PUBLIC_PATHS, *PUBLIC_PREFIXES, "/svelte/", "/theme.css")
    )


def _is_read(profile: Profile, path: str) -> bool:
    if path in _READ_PATHS or path.startswith(_READ_PREFIXES):
        return True
    if not profile.allow_changes:
        return False  # nothing can be uploaded there, no plugin's page has a file of its own, and nobody watches
    if path == METRICS_PATH:
        return True
    if path.startswith(_UPLOAD_READ_PREFIXES):
        return "://" not in path and not path.startswith(f"{_API}/file=//")
    return path.startswith(_PLUGIN_READ_PREFIXES)
