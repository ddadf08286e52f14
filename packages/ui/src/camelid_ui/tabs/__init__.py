"""What a page of the app is, and what every page of ours is laid out with.

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
    """A page that a plugin adds: `name` stands in the address, `label` on the tab.

    `build(services)` is called inside the tab and lays out Gradio components with their handlers.
    """

    name: str
    label: str
    build: Callable[[Services], object]


PRIVATE: Mapping[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "show_progress_on": []}
"""For every handler: no page's action is anybody's API, and no veil falls over the page while it runs. Gradio's own
signs of work are off too, as every one of them costs a walk through the whole page, at each event anew. A deed that is
asked for again while it is done is not done twice."""
LATEST: Mapping[str, Any] = {**PRIVATE, "trigger_mode": "always_last"}
"""For handlers that show what is chosen: a choice made while one is under way is shown after it."""
EACH: Mapping[str, Any] = {**PRIVATE, "trigger_mode": "multiple"}
"""For handlers of events that say something of their own: none is dropped. (One that waited for its turn would be given
what the one before it said: so Gradio does it.)"""
