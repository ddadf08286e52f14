"""Access profiles of the pages, as data: everything allowed on one's own machine, little where they are public.

Knows values. `services.permissions` enforces them; `disabled_controls` shows them.
"""

from __future__ import annotations

from camelid_core.config import Config
from camelid_core.errors import UsageError, did_you_mean
from pydantic import Field


class NotPermitted(UsageError):
    """The access profile of these pages does not allow it."""


class Profile(Config):
    """What visitors of these pages may do."""

    name: str = "local"
    """Its name: `camelid ui --profile NAME`."""
    allow_changes: bool = True
    """Whether anything on this machine may be changed, any work queued, and any file named by its path."""
    models: tuple[str, ...] | None = None
    """The only models that can be chosen, by name; none means every model and path."""
    max_new_tokens: int | None = Field(None, ge=1)
    """Longest answer in a chat, in tokens."""
    max_prompt_characters: int | None = Field(None, ge=1)
    """Longest conversation that is answered, in characters."""
    concurrent_answers: int | None = Field(None, ge=1)
    """Conversations that are answered at the same time."""
    waiting_answers: int = Field(0, ge=0)
    """Conversations that may wait in the queue; more are refused."""
    queue_size: int = Field(64, ge=1)
    """Actions of all pages together that may wait."""
    max_upload_bytes: int = Field(200_000_000, ge=0)
    """Largest file that may be uploaded."""
    max_request_bytes: int = Field(16_000_000, ge=1000)
    """Largest request body besides files: a browser's whole history of conversations fits."""
    max_connections: int = Field(1000, ge=1)
    """Open connections; further ones are refused."""
    max_client_connections: int | None = Field(None, ge=1)
    """Open connections of one address; behind a proxy this is not counted."""
    max_client_requests: int | None = Field(None, ge=1)
    """Requests of one address in a minute, without the pages' own static files."""


LOCAL = Profile()
DEMO = Profile(
    name="demo",
    allow_changes=False,
    models=("smollm2-135m",),
    max_new_tokens=128,
    max_prompt_characters=4000,
    concurrent_answers=1,
    waiting_answers=8,
    queue_size=24,
    max_upload_bytes=0,
    max_request_bytes=1_000_000,
    max_client_connections=32,
    max_client_requests=600,
)
PROFILES = {profile.name: profile for profile in (LOCAL, DEMO)}


def find_profile(name: str) -> Profile:
    """Raises UsageError, with the nearest name there is."""
    if name not in PROFILES:
        raise UsageError(f"--profile {name!r}: use {' or '.join(PROFILES)}.{did_you_mean(name, PROFILES)}")
    return PROFILES[name]
