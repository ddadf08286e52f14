"""The server's address: its listening socket, the host names it answers to, and the file by which others find it.

Knows hosts, ports, sockets and one small file. Knows nothing of what is served.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

from . import staging
from .errors import UsageError
from .file_permissions import make_private_directory

_ALL_INTERFACES = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_names(host: str, extra: Iterable[str] = ()) -> frozenset[str]:
    """Values of the Host header to accept: loopback's, and for a public address this machine's names and addresses."""
    local = {"localhost", "127.0.0.1", "::1", *(name.lower() for name in extra)}
    if is_loopback(host):
        return frozenset(local)
    import psutil

    addresses = {each.address.partition("%")[0] for each in chain.from_iterable(psutil.net_if_addrs().values())}
    return frozenset(local | addresses | {name.lower() for name in (host, socket.gethostname(), socket.getfqdn())})


def url_host(host: str) -> str:
    """The host as it is written in a URL; for one that means all interfaces this machine's name."""
    if host in _ALL_INTERFACES:
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


@contextlib.contextmanager
def listening_socket(host: str, port: int) -> Iterator[socket.socket]:
    """A bound and listening TCP socket.

    Raises:
        UsageError: the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's delay off (40 ms an answer) only where the protocol is named
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except socket.gaierror:
            raise UsageError(f"--host {host!r} is no address of this machine; 127.0.0.1 is the usual one.") from None
        except OSError as error:
            raise UsageError(
                f"port {port} on {host} cannot be used: {error.strerror}. Give another with --port, or 0 for any."
            ) from None
        listener.listen(128)  # who reads the address may connect at once
        yield listener


@contextlib.contextmanager
def address_file(path: Path, values: Mapping[str, object]) -> Iterator[None]:
    """While entered, a file private to this user has the server's address and key, for other programs to connect."""
    make_private_directory(path.parent)
    with staging.file(path, 0o600) as staged:
        staged.write_text(json.dumps({**values, "pid": os.getpid()}), encoding="utf-8")
        staged.replace(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            if json.loads(path.read_text(encoding="utf-8")).get("pid") == os.getpid():
                path.unlink()
