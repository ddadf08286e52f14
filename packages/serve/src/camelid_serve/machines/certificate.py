"""The certificate by which agents know this server: made once, signed by itself, pinned by its SHA-256.

Knows two files, readable by their owner alone, and a third with the server's number. Knows nothing of who connects.
"""

from __future__ import annotations

import hashlib
import secrets
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from camelid_core.errors import JobError
from camelid_core.file_permissions import make_private_directory
from camelid_core.integrity import write_durably

_DIRECTORY = "machines"
_CERTIFICATE, _KEY, _SERVER = "certificate.pem", "key.pem", "server-id"
_DAYS = 3650


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """`server` stays the same for as long as this home does, whatever the address; `fingerprint` is the certificate's
    SHA-256 in hexadecimal."""

    server: str
    certificate: Path
    key: Path
    fingerprint: str


def server_identity(home: Path) -> ServerIdentity:
    """That of a home, made where there is none.

    Raises:
        JobError: what is there cannot be read.
    """
    directory = make_private_directory(home / _DIRECTORY, home)
    certificate, key, number = (directory / name for name in (_CERTIFICATE, _KEY, _SERVER))
    if not number.exists():
        write_durably(number, secrets.token_hex(16).encode(), private=True)
    if not (certificate.exists() and key.exists()):
        made_key, made_certificate = _self_signed()
        write_durably(key, made_key, private=True)
        write_durably(certificate, made_certificate, private=True)
    try:
        der = ssl.PEM_cert_to_DER_cert(certificate.read_text(encoding="ascii"))
        server = number.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise JobError(
            f"{str(directory)!r} holds no certificate that can be read ({error}). Remove it for a new one; machines "
            "that joined must then be given the new line of `camelid machines add`."
        ) from None
    return ServerIdentity(server, certificate, key, hashlib.sha256(der).hexdigest())


def _self_signed() -> tuple[bytes, bytes]:
    """A key and its certificate as PEM. Its names do not matter: agents compare the whole certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "camelid")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # the other machine's clock may be behind
        .not_valid_after(now + timedelta(days=_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("camelid")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, certificate.public_bytes(serialization.Encoding.PEM)
