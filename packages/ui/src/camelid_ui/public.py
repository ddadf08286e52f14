"""The pages for everybody, as one Gradio app that shows itself: for a Space, where no server of ours runs.

Knows the demo profile and how its model gets there. Asks nobody for a token: nothing can be changed.
"""

from __future__ import annotations

import atexit
import logging
import threading
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError

from .app import build_app
from .profile import DEMO, Profile
from .server import looks
from .services import Services

log = logging.getLogger("camelid.ui")


def open_pages(profile: Profile = DEMO) -> tuple[gr.Blocks, dict[str, Any]]:
    """The app, and what its `launch` is to be told. The model is fetched and loaded meanwhile."""
    if profile.changes:
        raise ValueError("these pages ask nobody for a token; a profile that lets people change things is not for them")
    services = Services.open(profile=profile)
    atexit.register(services.chat.close)
    threading.Thread(target=_prepare, args=(services, profile), name="prepare model", daemon=True).start()
    return build_app(services), looks(services)


def _prepare(services: Services, profile: Profile) -> None:
    from camelid_core.pulling import pull

    for name in reversed(profile.models or ()):  # the first is the one that is loaded
        try:
            pull(name, services.host, log.info)
        except CamelidError as error:
            log.warning("%s", error)
    for name in (profile.models or ())[:1]:
        try:
            services.chat.load(name)
        except CamelidError as error:
            log.warning("%s", error)
