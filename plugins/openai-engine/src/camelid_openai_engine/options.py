"""What can be set for these engines.

Knows fields and their help. Imports no torch and no httpx. No field holds a secret: settings are written down with
results, so a key comes from the environment or from a file.
"""

from __future__ import annotations

import shlex
from urllib.parse import urlsplit

from camelid_core.config import Config
from camelid_core.errors import CamelidError
from camelid_core.paths import validated_path
from pydantic import Field, field_validator


class ClientOptions(Config):
    """A server that runs already."""

    url: str
    """Where it is: http://HOST:PORT, with or without /v1."""
    flavour: str = ""
    """What it is: vllm, sglang, llama-server, ollama, camelid or openai; empty asks it."""
    model: str = ""
    """The name it knows the model by; empty takes the name it has here, or the only one there."""
    key_file: str = ""
    """File that holds its key; empty takes the environment's CAMELID_ENGINE_KEY, which jobs do not see."""

    @field_validator("url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("give an address such as http://127.0.0.1:8000")
        if parts.username is not None or parts.query or parts.fragment:  # no ValueError: those repeat what was given
            raise CamelidError(
                "url: give host, port and path alone; a key belongs into CAMELID_ENGINE_KEY or key_file."
            )
        return value.rstrip("/").removesuffix("/v1")

    @field_validator("flavour")
    @classmethod
    def _is_known(cls, value: str) -> str:
        from .flavours import FLAVOURS

        if value and value not in FLAVOURS:
            raise ValueError(f"known are {', '.join(FLAVOURS)}")
        return value

    def key(self) -> str:
        """Raises ConfigError where the file cannot be read."""
        from .keys import read_key

        return read_key(validated_path(self.key_file, "key_file") if self.key_file else None)


class ServerOptions(Config):
    """A server that is started here."""

    program: str = ""
    """Program to start; empty looks for it on the PATH."""
    arguments: str = ""
    """Further arguments for it, as on a command line."""
    environment: dict[str, str] = {}
    """Variables it is to see; of Camelid's own it sees none with a credential."""
    model: str = ""
    """The name it is to know the model by, or for Ollama the one it knows it by; empty takes ours."""
    start_seconds: float = Field(900, gt=0)
    """Longest that it may take until it answers."""

    @field_validator("arguments")
    @classmethod
    def _is_line(cls, value: str) -> str:
        try:
            shlex.split(value)
        except ValueError:
            raise ValueError("a quotation mark is not closed") from None
        return value
