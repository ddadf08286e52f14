"""A dataset made by its own code: greetings for ten people in five languages."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, product

from camelid_core.datasets.dataset import Dataset, Split
from camelid_core.records import Record, alpaca

_NAMES = ("Ada", "Ben", "Chen", "Dora", "Emil", "Fay", "Gita", "Hugo", "Ines", "Jun")
_GREETINGS = {"English": "Hello", "German": "Hallo", "French": "Bonjour", "Spanish": "Hola", "Italian": "Ciao"}
_HELDOUT = 2


def _load(split: Split, limit: int | None) -> Iterator[Record]:
    names = _NAMES[-_HELDOUT:] if split == "heldout" else _NAMES[:-_HELDOUT]
    records = (
        alpaca(f"Greet {name} in {language}.", f"{greeting}, {name}!", id=f"{name}-{language}", source="greetings")
        for name, (language, greeting) in product(names, _GREETINGS.items())
    )
    return islice(records, limit)


GREETINGS = Dataset(
    name="greetings",
    help="Greet somebody in one of five languages.",
    licence="cc0-1.0",
    languages=("en", "de", "fr", "es", "it"),
    rows=(len(_NAMES) - _HELDOUT) * len(_GREETINGS),
    heldout_rows=_HELDOUT * len(_GREETINGS),
    tags=("generated",),
    load=_load,
)
