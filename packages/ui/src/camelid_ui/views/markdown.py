"""Markdown that a model generated → safe HTML that shows every character of it.

Knows nothing of models. How each construct is read is in `markdown_rules`. Whatever it is given, the result holds no
markup but Markdown's own: HTML is shown as it is written and a link leads only where a link may. What would take too
long to read as Markdown is shown as plain text.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from . import esc
from .markdown_rules import renderer

TEXT, ALL = 250_000, 1_000_000
"""Most that one text may cost, and all texts of a page; a unit is about a microsecond on a slow machine."""
_MARKS = dict.fromkeys(map(ord, "[]*`!|#\\$\n(:"))
_MARK, _BRACKET = 15, 100
"""What a character that may be Markdown costs, and a bracket: each that opens is tried with all that follow."""


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
    return renderer().render(text)
