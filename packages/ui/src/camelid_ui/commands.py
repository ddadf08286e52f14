"""`camelid ui`: start the pages and print their address.

Knows addresses, tokens and the process. Imports gradio only when it runs.
"""

from __future__ import annotations

import secrets
import signal
import socket
from contextlib import nullcontext
from typing import Annotated

import typer
from camelid_core import staging
from camelid_core.errors import UsageError
from camelid_core.file_permissions import make_private_directory
from camelid_core.paths import home
from camelid_core.server_address import address_file, host_names, is_loopback, listening_socket, url_host

from .access_profile import Profile, find_profile
from .browser import browser_opened_at
from .working_directory import private_working_directory

app = typer.Typer(help="Open the pages in a browser.", add_completion=False, rich_markup_mode=None)

ADDRESS_FILE = "ui.json"


@app.command()
def ui(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 7860,
    token: Annotated[
        bool, typer.Option(help="Ask for a token; without, anyone on this machine may use the pages.")
    ] = True,
    open_: Annotated[bool, typer.Option("--open", help="Open a browser.")] = False,
    allow_host: Annotated[list[str] | None, typer.Option(help="A further name the server answers to.")] = None,
    profile: Annotated[
        str, typer.Option(help="What the pages let people do: local everything, demo only to look and to chat.")
    ] = "local",
) -> None:
    """Serve the pages: Data, Train, Chat, Batch predict, Merge & export, Jobs, Plugins."""
    allowed = find_profile(profile)
    if not token and not is_loopback(host):
        raise UsageError(
            f"--host {host} lets other machines in, and --no-token lets anyone do anything. "
            "Leave out --no-token, or listen on 127.0.0.1 and forward the port (ssh -L)."
        )
    secret = secrets.token_urlsafe(24) if token else ""
    with listening_socket(host, port) as listener:
        serve(listener, host, secret, allow_host or [], open_, allowed)


def serve(
    listener: socket.socket, host: str, secret: str, allow_host: list[str], open_browser: bool, profile: Profile
) -> None:
    """Run until interrupted, in a private working directory."""
    port = listener.getsockname()[1]
    directory = make_private_directory(home())
    staging.sweep_below(directory)
    with private_working_directory():
        url = f"http://{url_host(host)}:{port}/" + (f"?token={secret}" if secret else "")
        with address_file(directory / ADDRESS_FILE, {"url": url, "port": port, "token": secret}):
            typer.echo(f"Camelid is at {url}")
            typer.echo("Ctrl-C ends the pages; jobs go on.")
            with browser_opened_at(url, port) if open_browser else nullcontext():
                _serve_guarded(listener, secret, host_names(host, allow_host), port, profile)


def _serve_guarded(listener: socket.socket, secret: str, hosts: frozenset[str], port: int, profile: Profile) -> None:
    from .security import guard_local
    from .server import build_server, uvicorn_for
    from .services import Services

    app = guard_local(build_server(Services.open(profile=profile)), secret, hosts, port, profile)
    signal.signal(signal.SIGTERM, _exit)  # uvicorn raises the signal again when it has shut down
    uvicorn_for(app, profile).run(sockets=[listener])


def _exit(*_: object) -> None:
    """Exit by unwinding the stack, so that the address file and the uploads are deleted too."""
    raise SystemExit(0)
