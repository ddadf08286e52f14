"""What a model says as Markdown → HTML that is only text.

Knows nothing of models. Whatever it is given, the result holds no markup but Markdown's own: HTML is shown as it
is written, a link leads only where a link may, and an image is a link.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token


@lru_cache(maxsize=512)
def markdown(text: str) -> str:
    """Kept for as long as a conversation is drawn anew with each piece of its last answer."""
    return str(_renderer().render(text))


@cache
def _renderer() -> MarkdownIt:
    made = MarkdownIt("js-default", {"breaks": True}).disable("image")
    made.add_render_rule("link_open", _link_open)
    return made


def _link_open(self: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    tokens[index].attrSet("target", "_blank")
    tokens[index].attrSet("rel", "noopener noreferrer")
    return str(self.renderToken(tokens, index, options, env))
