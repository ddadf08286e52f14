"""Buttons and fields that an access profile disables, with the reason beside the buttons.

Knows their element ids. `services.permissions` refuses the action itself.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from .access_profile import Profile
from .i18n import t
from .tabs.components import panel

_JOBS = ("job", "merge-job", "predict-job")
CHANGE_CONTROLS = (
    "data-add", "data-file", "data-path", "data-add-button", "data-fetch", "data-remove", "data-remove-yes",
    "data-count-all", "data-against", "data-check-all", "data-write", "data-cache-prune", "mix-save",
    "train-start", "run-finish", "run-stop", "run-stop-yes", "run-retry", "run-delete", "run-delete-yes",
    "predict-file", "predict-start", "merge-start", "export-start", "export-prove", "publish-look", "publish-start",
    "history-read",
    *(f"{job}-{action}" for job in _JOBS for action in ("finish", "pause", "cancel", "cancel-yes", "retry")),
)  # fmt: skip


def disable_controls(demo: gr.Blocks, profile: Profile) -> None:
    """Call once all handlers are there: whatever update a handler gives for a disabled control, it stays disabled."""
    if profile.allow_changes:
        return
    closed = {
        ident: block for ident, block in demo.blocks.items() if getattr(block, "elem_id", None) in CHANGE_CONTROLS
    }
    explained: set[int] = set()
    for block in closed.values():
        block.interactive = False
        row = block.parent
        if isinstance(block, gr.Button) and row is not None and row._id not in explained:
            explained.add(row._id)
            with row:
                panel(t("demo.closed"), elem_classes="camelid-note camelid-closed")
    for handler in demo.fns.values():
        positions = [position for position, output in enumerate(handler.outputs) if output._id in closed]
        if positions and handler.fn is not None:
            handler.fn = _keep_disabled(handler.fn, positions, len(handler.outputs))


def _keep_disabled(fn: Callable[..., Any], positions: list[int], count: int) -> Callable[..., Any]:
    @functools.wraps(fn)
    def called(*values: Any, **named: Any) -> Any:
        return _with_disabled(fn(*values, **named), positions, count)

    @functools.wraps(fn)
    def streaming(*values: Any, **named: Any) -> Iterator[Any]:
        for result in fn(*values, **named):
            yield _with_disabled(result, positions, count)

    return streaming if inspect.isgeneratorfunction(fn) else called


def _with_disabled(result: Any, positions: list[int], count: int) -> Any:
    if count > 1 and isinstance(result, dict):
        return result  # nothing changes
    updates = list(result) if count > 1 else [result]
    for position in positions:
        update = updates[position] if isinstance(updates[position], dict) else gr.update(value=updates[position])
        updates[position] = {**update, "interactive": False}
    return tuple(updates) if count > 1 else updates[0]
