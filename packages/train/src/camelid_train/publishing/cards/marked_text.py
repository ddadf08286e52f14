"""A card's text between HTML comments, which is generated again in place; what is outside of them is a person's.

    <!-- description start -->
    …
    <!-- description end -->

Knows markers. Knows nothing of what is written between them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from camelid_core.errors import UsageError

Part = tuple[str, str]
"""A marker's name and the text between; without a name the text stands by itself, and is written once."""


def marked(parts: Sequence[Part]) -> str:
    """A new card's text."""
    return "\n".join(_block(name, text) if name else text for name, text in parts) + "\n"


def regenerated(card: str, parts: Sequence[Part]) -> tuple[str, list[str]]:
    """`card` with the text between its markers replaced, and the names whose markers it does not have.

    What is outside of the markers stays byte for byte. A person who removed a part does not get it again.

    Raises:
        UsageError: a marker begins twice, or begins and does not end.
    """
    missing, wanted = [], {name: text for name, text in parts if name}
    for name in wanted:
        starts, ends = (card.count(_marker(name, where)) for where in ("start", "end"))
        if (starts, ends) == (0, 0):
            missing.append(name)
        elif (starts, ends) != (1, 1) or card.index(_marker(name, "start")) > card.index(_marker(name, "end")):
            raise UsageError(
                f"the card has {starts} {_marker(name, 'start')!r} and {ends} {_marker(name, 'end')!r}, where one of "
                "each must stand, in this order; nothing was changed. Mend it, or remove both with what is between."
            )
    present = {name: text for name, text in wanted.items() if name not in missing}
    return _replaced(card, present), missing


def _replaced(card: str, texts: Mapping[str, str]) -> str:
    """All at once: text that is put in is not searched for markers."""
    if not texts:
        return card
    names = "|".join(map(re.escape, texts))
    pattern = re.compile(rf"<!-- ({names}) start -->.*?<!-- \1 end -->", re.DOTALL)
    return pattern.sub(lambda found: _block(found[1], texts[found[1]]), card)


def _block(name: str, text: str) -> str:
    inner = re.sub(r"<!--(?= [\w.-]+ (start|end) -->)", "&lt;!--", text)  # what comes from elsewhere ends no part
    return (
        f"{_marker(name, 'start')}\n{inner}\n{_marker(name, 'end')}"
        if inner
        else f"{_marker(name, 'start')}\n{_marker(name, 'end')}"
    )


def _marker(name: str, where: str) -> str:
    return f"<!-- {name} {where} -->"
