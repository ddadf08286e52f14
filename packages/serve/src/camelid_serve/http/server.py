"""uvicorn's configuration for all servers: connections with deadlines, a file descriptor for each connection.

Knows uvicorn's settings. Knows nothing of applications.
"""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import Any

import uvicorn

from .asgi import App, RefusalFormat
from .connection import ConnectionLimits, connection_class


def uvicorn_config(
    app: App, connection_limits: ConnectionLimits, refusal_response: RefusalFormat, **more: Any
) -> uvicorn.Config:
    """The configuration of a server of `app`; `more` are settings of uvicorn."""
    _allow_files(connection_limits.connections)
    return uvicorn.Config(
        app,
        http=connection_class(connection_limits, refusal_response),
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the client is who connects: no header changes that
        backlog=min(4096, connection_limits.connections),
        **more,
    )


def _allow_files(connections: int) -> None:
    """Raise the limit of open files to one per connection, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 200
    if soft != resource.RLIM_INFINITY and soft < wanted:
        ceiling = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))
