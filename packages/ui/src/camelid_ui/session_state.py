"""Session state of each open page: the values of its `gr.State`s, and nothing else.

Gradio also copies all components for each session, for links to stored states; the pages have no such links, and it
took a megabyte and a tenth of a second of every visit. Knows Gradio's sessions. Knows nothing of pages.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gradio as gr
from gradio.state_holder import SessionState, StateHolder

MAX_SESSIONS = 2000
"""Sessions that are kept; the least recently used is dropped."""


class PageSession(SessionState):
    """A session without a copy of the components."""

    def __init__(self, blocks: gr.Blocks) -> None:
        super().__init__(SimpleNamespace(default_config=blocks.default_config, blocks={}))

    def __setitem__(self, key: int, value: Any) -> None:
        super().__setitem__(key, value)
        self.config_values.clear()

    def _update_config(self, key: int) -> None:
        """Not kept."""

    def _update_value_in_config(self, key: int, value: Any) -> None:
        """Not kept."""


class PageSessions(StateHolder):
    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            self.session_data[session_id] = PageSession(self.blocks)
        return super().__getitem__(session_id)


def limit_session_state(app: Any, pages: gr.Blocks) -> None:
    """`app` is Gradio's own FastAPI, in which `pages` are."""
    pages.state_session_capacity = MAX_SESSIONS
    app.state_holder = PageSessions()
    app.state_holder.set_blocks(pages)
