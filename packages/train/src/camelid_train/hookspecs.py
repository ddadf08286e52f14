"""Train's extension points. Each returns a list of objects with a `name`; calls are pure and cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from camelid_core.hookspecs import hookspec

if TYPE_CHECKING:
    from .methods import TuningMethod


@hookspec
def camelid_tuning_methods() -> list[TuningMethod[Any]]:
    """Ways to fine-tune: a name for `[method] type`, the section's class, and how a model is made ready."""
