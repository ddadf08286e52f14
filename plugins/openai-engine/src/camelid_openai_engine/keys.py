"""The API key of a server, and keeping it out of messages and logs.

Knows where it may come from. Never shows it.
"""

from __future__ import annotations

import os
from pathlib import Path

from camelid_core.errors import ConfigError
from camelid_serve.engine import ENGINE_KEY


def read_key(path: Path | None) -> str:
    """From a file, else from the environment; empty if there is none.

    Raises:
        ConfigError: the file cannot be read or holds no key.
    """
    if path is None:
        return os.environ.get(ENGINE_KEY, "").strip()
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"key_file {str(path)!r} cannot be read: {error}.") from None
    if not key or len(key.split()) > 1 or not key.isascii():
        raise ConfigError(f"key_file {str(path)!r} must hold one key and nothing else.")
    return key


def redact(secret: str, text: str) -> str:
    """`text` without the secret."""
    return text.replace(secret, "…") if len(secret) > 3 else text
