"""The URL policy: which URLs are opened and how. https, public addresses alone, every redirect checked anew.

A host is resolved once. All its addresses must be allowed, and the connection goes to one of these very addresses: a
later answer of the name server leads nowhere else. Proxies and credentials are not used. Knows nothing of files.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from camelid_core.errors import DataError, UsageError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_SAFE_CHARACTERS = "/%:@!$&'()*+,;=~-._?"


def is_public(address: IPAddress) -> bool:
    """Whether an address is of the public internet. Of one with an IPv4 address inside (IPv4-mapped, 6to4, Teredo,
    NAT64) both must be."""
    inner = _ipv4_inside(address)
    return address.is_global and not address.is_multicast and (inner is None or is_public(inner))


def is_of_own_network(address: IPAddress) -> bool:
    """Public addresses and those of this machine and its network; not link-local ones, where clouds give out keys."""
    own = address.is_private and not address.is_link_local and _ipv4_inside(address) is None
    return own or is_public(address)


def _ipv4_inside(address: IPAddress) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


@dataclass(frozen=True, slots=True)
class UrlPolicy:
    """`seconds` is the longest that a server may be silent."""

    schemes: tuple[str, ...] = ("https",)
    allows: Callable[[IPAddress], bool] = is_public
    seconds: float = 30.0


PUBLIC = UrlPolicy()
OWN_NETWORK = UrlPolicy(("https", "http"), is_of_own_network)


@contextmanager
def open_url(url: str, headers: Mapping[str, str], policy: UrlPolicy = PUBLIC) -> Iterator[http.client.HTTPResponse]:
    """The answer to GET, whatever its status, after at most `MAX_REDIRECTS` redirects.

    Raises:
        UsageError: the policy does not allow the URL.
        DataError: nor the URL that it redirects to; or the server cannot be reached, or its answer is no HTTP.
    """
    with ExitStack() as stack:
        at = url
        for _ in range(MAX_REDIRECTS + 1):
            parts = split_url(at, policy) if at == url else _redirected(url, at, policy)
            try:
                connection = stack.enter_context(closing(_connect(parts, policy)))
                connection.request("GET", _request_target(parts), headers=dict(headers))
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise DataError(f"{parts.hostname} cannot be reached: {_reason(error)}.", "no_connection") from None
            if response.status not in _REDIRECTS or "Location" not in response.headers:
                yield response
                return
            at = urljoin(at, response.headers["Location"])
        raise DataError(f"{url!r} redirects more than {MAX_REDIRECTS} times.", "no_connection")


def post(url: str, body: bytes, headers: Mapping[str, str], policy: UrlPolicy = PUBLIC) -> int:
    """The status of the answer to POST; a redirect is one, and is not followed. Of the answer nothing else is read.

    The whole request, from the connection on, takes no longer than the policy's `seconds`.

    Raises:
        UsageError: the policy does not allow the URL.
        DataError: nor one of its addresses; or the server cannot be reached, or its answer is no HTTP.
    """
    parts = split_url(url, policy)
    try:
        with closing(_connect(parts, policy)) as connection, _limited(connection, policy.seconds):
            connection.request("POST", _request_target(parts), body=body, headers=dict(headers))
            return connection.getresponse().status
    except DataError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:  # a TLS socket that was cut off says ValueError
        raise DataError(f"{parts.hostname} cannot be reached: {_reason(error)}.", "no_connection") from None


@contextmanager
def _limited(connection: http.client.HTTPConnection, seconds: float) -> Iterator[None]:
    """Cut the connection off after so long, however often a byte comes. Raises TimeoutError: it was."""
    over = threading.Event()

    def cut(channel: socket.socket) -> None:
        over.set()
        with suppress(OSError):
            channel.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut, (connection.sock,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if over.is_set():  # http.client takes half an answer for a whole one
            raise TimeoutError


def split_url(url: str, policy: UrlPolicy) -> SplitResult:
    """Raises UsageError: not a URL that is opened, whatever its host's addresses are."""
    if not url.isprintable() or " " in url or "\\" in url:
        raise UsageError(f"{url!r} is no URL: it holds a space, a backslash or a control character.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = "", None
    if not host or port == 0:
        raise UsageError(f"{url!r} is no URL; write https://HOST/PATH.")
    if parts.scheme not in policy.schemes:
        also = "" if "http" in policy.schemes else " For a server of your own, add --own-network."
        raise UsageError(f"{url!r} is not opened: only {' and '.join(policy.schemes)}.{also}")
    if parts.username is not None or parts.password is not None:
        raise UsageError("a URL with a name or password in it is not opened: it would be stored and shown.")
    return parts


def _redirected(url: str, to: str, policy: UrlPolicy) -> SplitResult:
    try:
        return split_url(to, policy)
    except UsageError as error:
        raise DataError(f"{url!r} redirects: {error}", "refused_url") from None


def _connect(parts: SplitResult, policy: UrlPolicy) -> http.client.HTTPConnection:
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    addresses = _resolve(host, port)
    refused = next((address for address in addresses if not policy.allows(ipaddress.ip_address(address))), "")
    if refused:
        raise DataError(
            f"{host!r} is not opened: {refused} is an address of this machine or of a network that is not public. "
            "For a server of your own, add --own-network.",
            "refused_url",
        )
    for number, address in enumerate(addresses, 1):
        try:
            channel = socket.create_connection((address, port), policy.seconds)
            break
        except OSError:
            if number == len(addresses):
                raise
    if parts.scheme == "http":
        plain = http.client.HTTPConnection(host, port)
        plain.sock = channel
        return plain
    secure = http.client.HTTPSConnection(host, port)
    try:
        secure.sock = ssl.create_default_context().wrap_socket(channel, server_hostname=host)
    except BaseException:
        channel.close()
        raise
    return secure


def _resolve(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError(f"{host!r} is no host name") from None
    return list(dict.fromkeys(str(address[0]).partition("%")[0] for *_, address in found))


def _request_target(parts: SplitResult) -> str:
    path = quote(parts.path or "/", safe=_SAFE_CHARACTERS)
    return f"{path}?{quote(parts.query, safe=_SAFE_CHARACTERS)}" if parts.query else path


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    return str(getattr(error, "strerror", "") or error or type(error).__name__).rstrip(".")
