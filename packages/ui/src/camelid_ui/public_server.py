"""The pages as a public demo behind a host's proxy, as on a Hugging Face Space: no token, and nothing can be changed.

Knows the demo profile, how its model is pulled and loaded, and the host's environment variables.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from typing import TYPE_CHECKING

from camelid_core.errors import CamelidError
from camelid_core.server_address import listening_socket

from .access_profile import DEMO, Profile
from .working_directory import private_working_directory

if TYPE_CHECKING:
    from .services import Services

log = logging.getLogger("camelid.ui")

FRAME_ANCESTORS = "'self' https://huggingface.co https://*.hf.space"
"""Sites that may show these pages in a frame (CSP `frame-ancestors`): where Spaces are shown."""


def serve(profile: Profile = DEMO) -> None:
    """Serve until ended. The model is pulled and loaded in the background.

    GRADIO_SERVER_NAME and GRADIO_SERVER_PORT say where to listen, as on Gradio's hosts. SPACE_ID says that a reverse
    proxy is in front, which names the clients.
    """
    if profile.allow_changes:
        raise ValueError("these pages ask nobody for a token; a profile that lets people change things is not for them")
    host, port = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"), int(os.environ.get("GRADIO_SERVER_PORT", "7860"))
    with listening_socket(host, port) as listener, private_working_directory():
        from .security import guard_public
        from .server import build_server, uvicorn_for
        from .services import Services

        services, proxy = Services.open(profile=profile), "SPACE_ID" in os.environ
        threading.Thread(target=_load_models, args=(services, profile), name="prepare model", daemon=True).start()
        signal.signal(signal.SIGTERM, _exit)  # uvicorn raises the signal again when it has shut down
        app = guard_public(build_server(services), profile, FRAME_ANCESTORS, proxy)
        uvicorn_for(app, profile, proxy).run(sockets=[listener])


def _exit(*_: object) -> None:
    """Exit by unwinding the stack, so that the private directory is deleted too."""
    raise SystemExit(0)


def _load_models(services: Services, profile: Profile) -> None:
    from camelid_core.models.pull import pull

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
