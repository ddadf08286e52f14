"""`camelid machines`: let other machines run this machine's jobs, list them, and let them in no more."""

from __future__ import annotations

import importlib.util
import os
import signal
import time
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer
from camelid_core.commands.output import print_rows
from camelid_core.errors import MissingPackage, UsageError
from camelid_core.jobs.foreground import open_store
from camelid_core.json_files import object_in
from camelid_core.machines.machine import Machine, add_machine, machines, revoke_machine
from camelid_core.paths import home

app = typer.Typer(no_args_is_help=True, help="Other machines that run this machine's jobs.")
ADDRESS = "machines.json"
PORT = 8470
TOKEN_VARIABLE = "CAMELID_JOIN_TOKEN"  # noqa: S105 - the name of a variable

Name = Annotated[str, typer.Argument(metavar="NAME", help="The machine's name here, such as gpu-box.")]


@app.command("list")
def list_machines(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Machines that were added, whether they are there, and what they are doing."""
    found = machines(open_store())
    if as_json:
        print_rows([{**asdict(each), "state": each.state} for each in found], as_json=True)
        return
    print_rows([_row(each) for each in found], False, "No machine was added; `camelid machines add NAME` adds one.")


@app.command()
def add(
    name: Name,
    url: Annotated[
        str,
        typer.Option(help="How the other machine reaches this one, as HOST or HOST:PORT; empty takes the door's own."),
    ] = "",
) -> None:
    """Let a machine in: prints the one line to type there. Its token is shown once."""
    _require_packages()
    address = _join_address(url)
    token = add_machine(open_store(), name)
    typer.echo(f"Type this on {name}, where camelid-core and camelid-train of the same version are installed:\n")
    typer.echo(f"  {TOKEN_VARIABLE}={token} camelid worker --join {address}\n")
    if not _door():
        typer.echo("The door is closed: `camelid machines serve --host 0.0.0.0` opens it.")


@app.command()
def revoke(name: Name) -> None:
    """Let a machine in no more; the jobs that it holds go to others."""
    held = revoke_machine(open_store(), name)
    lost = f" It held job {', '.join(map(str, held))}, which goes to others." if held else ""
    typer.echo(f"{name} is not let in any more.{lost}")


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is every network of this machine.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = PORT,
    plain: Annotated[
        bool, typer.Option("--http", help="HTTP without TLS, on loopback alone: for an SSH tunnel.")
    ] = False,
    lease: Annotated[
        float, typer.Option(min=1.0, help="Seconds without a sign of life after which a machine has lost its job.")
    ] = 30.0,
) -> None:
    """Open the door: machines that were added may lease jobs until this ends."""
    _require_packages()
    from camelid_core.notifications.delivery import Notifier
    from camelid_core.plugins import load_host
    from camelid_core.server_address import address_file, is_loopback, listening_socket, url_host

    from camelid_serve.machines.certificate import server_identity
    from camelid_serve.machines.door import Door
    from camelid_serve.machines.door_server import door_server
    from camelid_serve.machines.held_jobs import HeldJobs

    if plain and not is_loopback(host):
        raise UsageError(
            f"--http on {host} would show tokens and data to the network. Leave out --http, or listen on 127.0.0.1 and "
            "forward the port (ssh -L)."
        )
    store, identity = open_store(), server_identity(home())
    load_host()
    door = Door(HeldJobs(store, load_host, lease), identity)
    with listening_socket(host, port) as listener:
        number = listener.getsockname()[1]
        scheme = "http" if plain else "https"
        url = f"{scheme}://{url_host(host)}:{number}" + ("" if plain else f"/{identity.fingerprint}")
        server = door_server(door.app(), store, None if plain else identity)
        signal.signal(signal.SIGTERM, _leave)
        typer.echo(f"Machines join at {url}")
        typer.echo(
            "`camelid machines add NAME` prints the line for one. Ctrl-C closes the door; jobs go on for a lease."
        )
        with address_file(home() / ADDRESS, {"url": url, "port": number, "scheme": scheme}), Notifier(store):
            server.run(sockets=[listener])


def _leave(*_: object) -> None:
    """End by unwinding, so that the address file goes too."""
    raise SystemExit(0)


def _require_packages() -> None:
    for package in ("starlette", "uvicorn", "cryptography"):
        if importlib.util.find_spec(package) is None:
            raise MissingPackage(f"machines need {package}, which is not here; pip install 'camelid-serve[machines]'.")


def _door() -> dict[str, Any]:
    """Where the door is; empty while it is closed."""
    found = object_in(home() / ADDRESS)
    try:
        os.kill(int(found["pid"]), 0)
    except (KeyError, ValueError, TypeError, OSError):
        return {}
    return found


def _join_address(url: str) -> str:
    """What to join: the door's address, or this host with the usual port and the certificate's fingerprint."""
    from camelid_serve.machines.certificate import server_identity

    door = _door()
    fingerprint = server_identity(home()).fingerprint
    if not url and door:
        return str(door["url"])
    if not url:
        raise UsageError(
            "the door is closed, so its address is not known: `camelid machines serve --host 0.0.0.0` opens it; or say "
            "with --url HOST how the other machine reaches this one."
        )
    host, colon, port = url.rpartition(":")
    if "/" in url or (colon and not port.isdecimal()) or not (host or port):
        raise UsageError(f"--url {url!r} is no HOST or HOST:PORT.")
    with_port = url if colon else f"{url}:{door.get('port', PORT)}"
    return f"http://{with_port}" if door.get("scheme") == "http" else f"https://{with_port}/{fingerprint}"


def _row(machine: Machine) -> dict[str, Any]:
    said = machine.description
    cards = ", ".join(f"{each.name} {each.memory >> 30} GB" for each in said.accelerators)
    return {
        "name": machine.name,
        "state": machine.state,
        "jobs": ", ".join(map(str, machine.jobs)),
        "host": said.host,
        "cores": str(said.cores or ""),
        "memory": f"{said.memory >> 30} GB" if said.memory else "",
        "cards": cards,
        "load": f"{said.load:.0%}" if machine.online else "",
        "seen": _ago(machine.seen),
    }


def _ago(seen: float) -> str:
    if not seen:
        return "never"
    seconds = time.time() - seen
    return f"{max(0, seconds):.0f} s ago" if seconds < 120 else f"{datetime.fromtimestamp(seen):%Y-%m-%d %H:%M}"
