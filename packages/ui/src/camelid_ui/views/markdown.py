"""Markdown that a model generated → safe HTML.

Knows nothing of models. Whatever it is given, the result holds no markup but Markdown's own: HTML is shown as it
is written, a link leads only where a link may, and an image is a link. What would take too long to read as Markdown is
shown as plain text too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from . import esc

TEXT, ALL = 250_000, 1_000_000
"""Most that one text may cost, and all texts of a page; a unit is about a microsecond on a slow machine."""
_MARKS = dict.fromkeys(map(ord, "[]*_`~<>!|#\\&\n(:"))
_MARK, _BRACKET = 15, 100
"""What a character that may be Markdown costs, and a bracket: each that opens is tried with all that follow."""
_DEPTH = 20
"""Lists, quotations and links inside one another; the more there are, the longer a bracket takes."""


def cost(text: str) -> int:
    """About how long `markdown` takes for it."""
    return len(text) + _MARK * (len(text) - len(text.translate(_MARKS))) + _BRACKET * text.count("[")


def formatted(texts: Iterable[str]) -> list[bool]:
    """Which of these are shown as Markdown: those that come last, as far as they are cheap enough together."""
    left, shown = ALL, []
    for text in reversed(list(texts)):
        price = cost(text)
        shown.append(price <= min(TEXT, left))
        left -= price if shown[-1] else 0
    return shown[::-1]


def plain(text: str) -> str:
    """As plain text, not rendered."""
    return f'<pre class="unformatted">{esc(text)}</pre>'


@lru_cache(maxsize=512)
def markdown(text: str) -> str:
    """Rendered Markdown; cached, as a conversation is redrawn with every new piece of its last answer."""
    return str(_renderer().render(text))


@cache
def _renderer() -> MarkdownIt:
    made = MarkdownIt("js-default", {"breaks": True, "maxNesting": _DEPTH}).disable("image")
    made.add_render_rule("link_open", _link_open)
    return made


def _link_open(self: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    tokens[index].attrSet("target", "_blank")
    tokens[index].attrSet("rel", "noopener noreferrer")
    return str(self.renderToken(tokens, index, options, env))
