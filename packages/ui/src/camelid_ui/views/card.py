"""A model card as it will read where it is published: front matter and comments are not shown, tables are.

Knows Markdown as the Hub reads it, without HTML. Its texts are ours or those of a model's makers, so HTML is shown as
it is written, and a link leads only where a link may.
"""

from __future__ import annotations

import re
from functools import cache

from markdown_it import MarkdownIt

from .markdown import TEXT, cost, plain

_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


def card(text: str) -> str:
    """Rendered; as plain text where that would take too long."""
    body = _COMMENT.sub("", _FRONT_MATTER.sub("", text))
    return f'<div class="camelid-card-text">{_renderer().render(body)}</div>' if cost(body) <= TEXT else plain(body)


@cache
def _renderer() -> MarkdownIt:
    return MarkdownIt("js-default", {"html": False})
