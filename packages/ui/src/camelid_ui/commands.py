"""`camelid ui`: start the pages and say where they are.

Knows addresses, tokens and the process. Imports gradio only when it runs.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import secrets
import signal
import socket
import tempfile
import webbrowser
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer
from camelid_core.errors import UsageError
from camelid_core.paths import home

app = typer.Typer(help="Open the pages in a browser.", add_completion=False, rich_markup_mode=None)

ADDRESS = "ui.json"


@app.command()
def ui(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 7860,
    token: Annotated[
        bool, typer.Option(help="Ask for a token; without, anyone on this machine may use the pages.")
    ] = True,
    open_: Annotated[bool, typer.Option("--open", help="Open a browser.")] = False,
    allow_host: Annotated[list[str] | None, typer.Option(help="A further name the server answers to.")] = None,
) -> None:
    """Serve the pages: Data, Train, Chat, Batch predict, Merge & export, Jobs, Plugins."""
    if not token and not _is_loopback(host):
        raise UsageError(
            f"--host {host} lets other machines in, and --no-token lets anyone do anything. "
            "Leave out --no-token, or listen on 127.0.0.1 and forward the port (ssh -L)."
        )
    secret = secrets.token_urlsafe(24) if token else ""
    with _listening(host, port) as listener:
        serve(listener, host, secret, allow_host or [], open_)


def serve(listener: socket.socket, host: str, secret: str, allow_host: list[str], open_browser: bool) -> None:
    """Run until interrupted, from an empty directory, with uploads in a private one."""
    port = listener.getsockname()[1]
    directory = home()
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="camelid-ui-") as empty:
        uploads = Path(empty) / "uploads"
        uploads.mkdir(mode=0o700)
        (Path(empty) / "cwd").mkdir()
        os.environ["GRADIO_TEMP_DIR"] = str(uploads)
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        os.chdir(Path(empty) / "cwd")  # Gradio may serve files of the working directory: there are none
        url = f"http://{_shown(host)}:{port}/" + (f"?token={secret}" if secret else "")
        with _address_file(directory / ADDRESS, {"url": url, "port": port, "token": secret, "pid": os.getpid()}):
            typer.echo(f"Camelid is at {url}")
            typer.echo("Ctrl-C ends the pages; jobs go on.")
            if open_browser:
                webbrowser.open(url)
            _run(listener, secret, _hosts(host, allow_host), port)


def _run(listener: socket.socket, secret: str, hosts: frozenset[str], port: int) -> None:
    import uvicorn

    from .server import build_server, guarded
    from .services import Services

    guard = guarded(build_server(Services.open()), secret, hosts, port)
    config = uvicorn.Config(
        guard, log_level="warning", timeout_keep_alive=5, timeout_graceful_shutdown=3, server_header=False
    )
    signal.signal(signal.SIGTERM, _leave)  # uvicorn hands the signal on when it has shut down
    uvicorn.Server(config).run(sockets=[listener])


def _leave(*_: object) -> None:
    """End by unwinding, so that the address file and the uploads go too."""
    raise SystemExit(0)


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # named TCP, so that asyncio turns Nagle off: each answer is 40 ms sooner
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"port {port} on {host} cannot be used: {error.strerror}. Give another with --port, or 0 for any."
            ) from None
        listener.listen(128)
        yield listener


@contextlib.contextmanager
def _address_file(path: Path, values: dict[str, object]) -> Iterator[None]:
    """Where this server is and its token, for programs of the same user and nobody else."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump(values, file)
    draft.replace(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            if json.loads(path.read_text(encoding="utf-8")).get("pid") == os.getpid():
                path.unlink()


def _hosts(host: str, extra: list[str]) -> frozenset[str]:
    """Loopback names, and for a public address this machine's own names and addresses."""
    from .security import local_hosts

    if _is_loopback(host):
        return local_hosts(extra)
    import psutil

    addresses = [each.address.partition("%")[0] for each in chain.from_iterable(psutil.net_if_addrs().values())]
    return local_hosts([host, socket.gethostname(), socket.getfqdn(), *addresses, *extra])


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _shown(host: str) -> str:
    """What to type for an address that means all interfaces."""
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
