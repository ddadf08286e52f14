"""Gradio's app with two holes closed: handlers get no file that was not uploaded, and errors repeat no value.

Gradio checks the paths that a browser names only in apps it launched itself, fetches addresses, and repeats in its
errors what it was given. Knows files and errors. Knows nothing of pages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder
from gradio_client.utils import is_file_obj_with_meta, traverse


class GuardedBlocks(gr.Blocks):
    """Handlers are given no file that was not uploaded to this server."""

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], state: Any, explicit_call: bool = False
    ) -> list[Any]:
        """Raises gr.Error: a file is named that nobody uploaded here."""
        traverse(inputs, _check_uploaded, is_file_obj_with_meta)
        values: list[Any] = await super().preprocess_data(block_fn, inputs, state, explicit_call)
        return values

    @staticmethod
    def _format_processing_error(*_: Any, **__: Any) -> str:
        """Gradio's own text names the value, and so paths on this machine."""
        return "This field cannot hold what it was given; reload the page."


def mark_launched(pages: gr.Blocks) -> None:
    """Mounted pages count as not yet launched, for which Gradio checks no path, also of what handlers give back."""
    pages.has_launched = pages.is_running = True


def _check_uploaded(file: dict[str, Any]) -> dict[str, Any]:
    place, uploads = Path(file["path"]), Path(get_upload_folder())
    try:
        uploaded = place.is_absolute() and place.resolve().is_relative_to(uploads.resolve())
    except (OSError, ValueError):  # a name that is too long, or a NUL in it
        uploaded = False
    if not uploaded:
        raise gr.Error("This file was not uploaded here; choose it again.", print_exception=False)
    return file
