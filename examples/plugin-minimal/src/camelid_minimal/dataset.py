"""A dataset made by its own code: greetings for ten people in five languages."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, product

from camelid_core.datasets.dataset import Dataset, Split
from camelid_core.records import Record, alpaca

_NAMES = {"train": ("Ada", "Ben", "Chen", "Dora", "Emil", "Fay", "Gita", "Hugo"), "heldout": ("Ines", "Jun")}
_GREETINGS = {"English": "Hello", "German": "Hallo", "French": "Bonjour", "Spanish": "Hola", "Italian": "Ciao"}


def _load(split: Split, limit: int | None) -> Iterator[Record]:
    records = (
        alpaca(f"Greet {name} in {language}.", f"{greeting}, {name}!", id=f"{name}-{language}", source="greetings")
        for name, (language, greeting) in product(_NAMES[split], _GREETINGS.items())
    )
    return islice(records, limit)


GREETINGS = Dataset(
    name="greetings",
    help="Greet somebody in one of five languages.",
    licence="cc0-1.0",
    languages=("en", "de", "fr", "es", "it"),
    rows=len(_NAMES["train"]) * len(_GREETINGS),
    heldout_rows=len(_NAMES["heldout"]) * len(_GREETINGS),
    tags=("generated",),
    load=_load,
)
