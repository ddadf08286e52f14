"""What crosses the pipe between `remote` and `host`: one JSON object per line, each way.

    → {"id", "op": "load", "model", "template", "dtype", "slots"}
    → {"id", "op": "chat", "messages", "sampling", "tuned", "template"}    → {"id", "op": "cancel"}
    ← {"id", "event": "progress" | "loaded" | "delta" | "done" | "error", …}

Knows the shape of these. Knows nothing of processes. An error crosses as its class's name and a sentence.
"""

from __future__ import annotations

from typing import Any

from camelid_core import errors
from camelid_core.config import Config
from camelid_core.errors import CamelidError
from pydantic import BaseModel, ConfigDict

from .config import Dtype
from .engine import Sampling


class Load(Config):
    """Replace the resident model."""

    model: str
    """Name or directory."""
    template: str = ""
    """Overrides the model's own."""
    dtype: Dtype = "auto"
    """Number format."""
    slots: int = 8
    """Answers at once."""


class Chat(Config):
    """Answer a conversation; `messages` are `{"role", "content", "context"}`."""

    messages: list[dict[str, str]]
    """Ends with the user's."""
    sampling: Sampling | None = None
    """None takes the model's own."""
    tuned: bool = True
    """With the adapter."""
    template: str = ""
    """Overrides the loaded one."""


class Loaded(BaseModel):
    """What is resident. `own_template` is the one it was trained with, `template` the one in force."""

    model_config = ConfigDict(frozen=True)

    model: str
    base: str
    has_adapter: bool
    template: str
    own_template: str
    context_length: int
    licence: str
    sampling: Sampling


def error_message(error: BaseException) -> dict[str, Any]:
    """Our own errors are sentences already; others are named."""
    text = str(error) if isinstance(error, CamelidError) else f"the engine failed: {type(error).__name__}: {error}"
    return {"event": "error", "type": type(error).__name__, "message": text}


def to_error(message: dict[str, Any]) -> CamelidError:
    """The same kind of error on this side of the pipe, where it is one of ours."""
    kind = getattr(errors, str(message.get("type")), None)
    if isinstance(kind, type) and issubclass(kind, CamelidError) and kind is not errors.UnknownName:
        return kind(message["message"])
    return CamelidError(message["message"])
