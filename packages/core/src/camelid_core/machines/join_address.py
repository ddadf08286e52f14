"""The address that a machine joins: `https://HOST:PORT/SHA256`, where the last part is the server's certificate.

Knows URLs and TLS. Only that very certificate is trusted: no authority, no name, no clock of a third party matters.
`http` is for loopback alone, where an SSH tunnel ends.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from camelid_core.errors import JobError, UsageError, shortened
from camelid_core.server_address import is_loopback, url_host

_DIGITS = 64
_SECONDS = 10.0
_EXAMPLE = "https://HOST:8470/FINGERPRINT, as `camelid machines add NAME` prints it on the server"


@dataclass(frozen=True, slots=True)
class JoinAddress:
    """`fingerprint` is the SHA-256 of the certificate in hexadecimal; empty for http."""

    scheme: str
    host: str
    port: int
    fingerprint: str = ""

    @classmethod
    def parse(cls, text: str) -> JoinAddress:
        """Raises UsageError: it is no such address, or http to another machine."""
        try:
            parts = urlsplit(text)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            host, port = "", None
        if not host or port is None or parts.scheme not in ("https", "http") or parts.query or parts.username:
            raise UsageError(f"{shortened(text)!r} is no address to join; write {_EXAMPLE}.")
        fingerprint = parts.path.strip("/").lower()
        if parts.scheme == "http":
            if not is_loopback(host):
                raise UsageError(
                    f"{shortened(text)!r} would send the token and the data in the clear. Use the https address, or an "
                    "SSH tunnel: ssh -L 8470:127.0.0.1:8470 SERVER, then --join http://127.0.0.1:8470."
                )
            return cls("http", host, port)
        if len(fingerprint) != _DIGITS or set(fingerprint) - set("0123456789abcdef"):
            raise UsageError(
                f"{shortened(text)!r} lacks the fingerprint of the server's certificate, {_DIGITS} hexadecimal digits "
                f"after the last slash; write {_EXAMPLE}."
            )
        return cls("https", host, port, fingerprint)

    @property
    def url(self) -> str:
        """Without the fingerprint."""
        return f"{self.scheme}://{url_host(self.host)}:{self.port}"

    def __str__(self) -> str:
        return f"{self.url}/{self.fingerprint}" if self.fingerprint else self.url

    def tls(self) -> ssl.SSLContext | bool:
        """What trusts the pinned certificate alone; asks the server for it first, and shows it nothing.

        Raises:
            JobError: the server cannot be reached, or has another certificate.
        """
        if self.scheme == "http":
            return False
        try:
            pem = ssl.get_server_certificate((self.host, self.port), timeout=_SECONDS)
            der = ssl.PEM_cert_to_DER_cert(pem)
        except (OSError, ValueError) as error:
            raise ServerUnreachable(f"{self.url} cannot be reached: {error}.") from None
        found = hashlib.sha256(der).hexdigest()
        if not hmac.compare_digest(found, self.fingerprint):
            raise WrongCertificate(
                f"{self.url} shows a certificate with the SHA-256 {found}, not {self.fingerprint}: it is another server, "
                "or somebody is in between. Nothing was sent. `camelid machines add` on the server prints the right line."
            )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False  # the certificate itself is compared, whatever name leads to it
        context.load_verify_locations(cadata=pem)
        return context


class ServerUnreachable(JobError):
    """No answer; the same again may succeed."""


class WrongCertificate(JobError):
    pass
