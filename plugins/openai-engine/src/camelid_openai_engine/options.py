"""Options of these engines.

Knows fields and their help. Imports no torch and no httpx. No field holds a secret: options are stored with results, so
an API key comes from the environment or from a file.
"""

from __future__ import annotations

import shlex
from urllib.parse import urlsplit

from camelid_core.config import Config
from camelid_core.errors import CamelidError
from camelid_core.paths import validated_path
from pydantic import Field, field_validator


class ClientOptions(Config):
    """Options of the engine `openai`: a server that runs already."""

    url: str
    """Base URL of the server: http://HOST:PORT, with or without /v1. Also: `base_url`, `api_base`."""
    flavour: str = ""
    """Kind of server: vllm, sglang, llama-server, ollama, camelid or openai; empty detects it."""
    model: str = ""
    """Model name on the server; empty takes the name it has here, or the only one there. Also: `--served-model-name`,
    `--alias`."""
    key_file: str = ""
    """File with the server's API key; empty takes the environment's CAMELID_ENGINE_KEY, which jobs do not see, else
    what `camelid plugins settings openai-engine` holds for this URL. Also: `--api-key`."""

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
        from .settings import SETTINGS

        given = read_key(validated_path(self.key_file, "key_file") if self.key_file else None)
        return given or SETTINGS.load().key_for(self.url)


class ServerOptions(Config):
    """Options of an engine whose server is started with it: vLLM, SGLang, llama.cpp's server, Ollama."""

    program: str = ""
    """Path of the server program; empty looks for it on the PATH."""
    arguments: str = ""
    """Further command-line arguments for it, such as --gpu-memory-utilization 0.8 or --n-gpu-layers 99."""
    environment: dict[str, str] = {}
    """Environment variables for it; of Camelid's own it gets none with a credential."""
    model: str = ""
    """Model name on the server, for Ollama the name of one of its models; empty takes the name it has here. Also:
    `--served-model-name`, `--alias`."""
    start_seconds: float = Field(900, gt=0)
    """Start timeout, in seconds: the longest that the server may take until it answers."""

    @field_validator("arguments")
    @classmethod
    def _is_line(cls, value: str) -> str:
        try:
            shlex.split(value)
        except ValueError:
            raise ValueError("a quotation mark is not closed") from None
        return value
