"""Limits of the API server: slots, queue, lengths, timeouts, connections.

Knows fields, bounds and their help. Imports no web library.
"""

from __future__ import annotations

from camelid_core.config import Config
from pydantic import Field


class Limits(Config):
    """Limits of one request, and of all requests together."""

    slots: int = Field(16, ge=1, le=1024)
    """Slots: answers that are generated at once, in one continuous batch. Also: `max_num_seqs`, `--parallel`."""
    queue: int = Field(32, ge=0, le=10_000)
    """Queue length: requests that may wait for a slot; further ones are refused with status 429."""
    max_tokens: int = Field(131_072, ge=1, le=131_072)
    """Highest `max_tokens` that a request may set, in tokens; the model's context length limits it too.
    Also: `--n-predict`."""
    default_tokens: int = Field(1024, ge=1, le=131_072)
    """Default `max_tokens` of a chat completion, in tokens, where the request sets none."""
    body_bytes: int = Field(4_000_000, ge=1000)
    """Largest request body, in bytes."""
    prompts: int = Field(16, ge=1, le=1024)
    """Most prompts in one completion request."""
    choices: int = Field(4, ge=1, le=128)
    """Most answers to one prompt: the highest `n` that a request may set."""
    request_seconds: float = Field(600, gt=0)
    """Request timeout, in seconds: waiting for a slot, prefill and decoding together."""
    receive_seconds: float = Field(15, gt=0)
    """Receive timeout, in seconds: the longest time in which a client must send a request."""
    reader_seconds: float = Field(30, gt=0)
    """Send timeout, in seconds: the longest that a client may leave a stream unread. Also: `--timeout`."""
    stall_seconds: float = Field(60, gt=0)
    """Engine timeout, in seconds: the longest silence of a busy engine before it is restarted, and one second more per
    100 characters in prefill; raise it for large models on slow machines."""
    adapters: int = Field(0, ge=0, le=10_000)
    """Most LoRA adapters that clients may load at once; 0 does not let them load or unload any. Also: `max_loras`,
    `VLLM_ALLOW_RUNTIME_LORA_UPDATING`."""
    drain_seconds: float = Field(10, gt=0)
    """Graceful shutdown, in seconds: the longest that running answers may take to end when the server is stopped."""
    connections: int = Field(1000, ge=1)
    """Most connections at once; further ones are refused with status 503."""


RESTARTS = 3
RESTARTS_WITHIN = 600.0
"""An engine process that ends more often than this in that many seconds is not started again."""
