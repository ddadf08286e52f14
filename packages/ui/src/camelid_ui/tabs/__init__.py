"""`Tab`: a page of the app, and the options of Gradio event handlers that our pages share.

Knows the shape of a tab. Knows no tab.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from camelid_ui.services import Services


@dataclass(frozen=True)
class Tab:
    """A page that a plugin adds: `name` is in the address, `label` on the tab.

    `build(services)` is called inside the tab and lays out Gradio components with their handlers.
    """

    name: str
    label: str
    build: Callable[[Services], object]


PRIVATE: Mapping[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "show_progress_on": []}
"""For every handler: it is not part of an API, and no progress overlay covers the page while it runs. Gradio's own
progress indicators are off too, as each of them walks through the whole page at every event. An event that comes while
its handler still runs is dropped."""
LATEST: Mapping[str, Any] = {**PRIVATE, "trigger_mode": "always_last"}
"""For handlers that show what is chosen: the last event that came while the handler ran is handled after it."""
EACH: Mapping[str, Any] = {**PRIVATE, "trigger_mode": "multiple"}
"""For handlers of events with data of their own: none is dropped. (Gradio gives an event that waited the data of the
one before it.)"""
