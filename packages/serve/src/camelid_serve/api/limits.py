"""What the server can be told: how much it takes, how long it waits, who may talk to it.

Knows fields, bounds and their help. Imports no web library.
"""

from __future__ import annotations

from camelid_core.config import Config
from pydantic import Field


class Limits(Config):
    """What one request, and all of them together, may take."""

    slots: int = Field(16, ge=1, le=1024)
    """Answers under way at once."""
    queue: int = Field(32, ge=0, le=10_000)
    """Requests that may wait for a slot; further ones are told to come back (429)."""
    max_tokens: int = Field(131_072, ge=1, le=131_072)
    """Longest answer a request may ask for; a model's own context bounds it anyway."""
    default_tokens: int = Field(1024, ge=1, le=131_072)
    """Longest answer of a chat that names no limit."""
    body_bytes: int = Field(4_000_000, ge=1000)
    """Largest request."""
    prompts: int = Field(16, ge=1, le=1024)
    """Most prompts in one request for completions."""
    choices: int = Field(4, ge=1, le=128)
    """Most answers to one prompt (`n`)."""
    request_seconds: float = Field(600, gt=0)
    """Longest that a request may wait and run."""
    receive_seconds: float = Field(15, gt=0)
    """Longest that a client may take to send a request."""
    reader_seconds: float = Field(30, gt=0)
    """Longest that a client may leave a stream unread."""
    stall_seconds: float = Field(60, gt=0)
    """Longest silence of a busy engine before it is restarted, and a second more per 100 characters that it is
    reading; raise it for large models on slow machines."""
    adapters: int = Field(0, ge=0, le=10_000)
    """Adapters that clients may have loaded; 0 lets them load and unload none."""
    drain_seconds: float = Field(10, gt=0)
    """Longest that answers under way may take to end when the server is told to stop."""
    connections: int = Field(1000, ge=1)
    """Connections at once; further ones are turned away."""


RESTARTS = 3
RESTARTS_WITHIN = 600.0
"""An engine that ends more often than this in that many seconds is not started again."""
