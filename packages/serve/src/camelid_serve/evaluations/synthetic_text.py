"""A synthetic long text with long-range dependencies: earlier entries help to predict later ones.

Knows nothing of tokens or models. A market's day book: each entry names a trader, whose craft, town, ware and price are
always the same. How many others were named since a trader was named last is spread evenly over the orders of
magnitude, so that every doubling of the context holds about as many more of them. All names are made up: no model
has memorised them.
"""

from __future__ import annotations

import random

NAME = "generated day book"

_NEW = 0.25
"""Share of the entries that name a new trader."""

_BEGINNINGS = [
    "Bar",
    "Cor",
    "Dan",
    "Fel",
    "Gar",
    "Hol",
    "Jor",
    "Kel",
    "Lan",
    "Mar",
    "Nor",
    "Orv",
    "Per",
    "Quen",
    "Ros",
    "Sel",
    "Tor",
    "Ulm",
    "Ver",
    "Wil",
    "Yar",
    "Zan",
]
_MIDDLES = ["a", "e", "i", "o", "u", "an", "el", "ir", "om", "us", "ab", "en"]
_ENDINGS = ["bert", "dan", "gard", "lind", "mer", "nor", "ric", "ston", "tan", "vik", "wen", "zar"]
_TOWNS = ["bury", "ford", "haven", "mouth", "stead", "wick"]
_CRAFTS = [
    "baker",
    "brewer",
    "carter",
    "cooper",
    "dyer",
    "fisher",
    "glazier",
    "joiner",
    "mason",
    "miller",
    "potter",
    "saddler",
    "smith",
    "tanner",
    "weaver",
]
_WARES = [
    "barrels",
    "baskets",
    "bells",
    "blankets",
    "bowls",
    "brooms",
    "candles",
    "chairs",
    "hammers",
    "jars",
    "kettles",
    "knives",
    "ladders",
    "lanterns",
    "mirrors",
    "needles",
    "ploughs",
    "ropes",
    "saddles",
    "scarves",
    "shovels",
    "spoons",
    "tables",
    "tiles",
]
_FORMS = (
    "{name} the {craft} came from {town} and sold {count} {ware} at {price} crowns each.",
    "From {town} came {name} the {craft}, who asked {price} crowns for each of {count} {ware}.",
    "{name}, a {craft} of {town}, brought {count} {ware}; the price was {price} crowns, as ever.",
)


def synthetic_day_book(characters: int, seed: int = 0) -> str:
    """At least that many characters; a longer one begins with the shorter ones."""
    rng = random.Random(seed)
    traders: list[dict[str, str]] = []  # who was named last stands last
    entries: list[str] = []
    written = 0
    while written < characters:
        known = traders and rng.random() >= _NEW
        traders.append(traders.pop(-int(len(traders) ** rng.random())) if known else _trader(rng))
        entry = rng.choice(_FORMS).format(count=rng.randint(2, 19), **traders[-1])
        entries.append(f"Day {len(entries) + 1}. {entry}")
        written += len(entries[-1]) + 1
    return "\n".join(entries)


def _trader(rng: random.Random) -> dict[str, str]:
    made = (_word(rng, _ENDINGS), _word(rng, _ENDINGS), _word(rng, _TOWNS))
    craft, ware, price = rng.choice(_CRAFTS), rng.choice(_WARES), rng.randint(11, 989)
    return {"name": f"{made[0]} {made[1]}", "town": made[2], "craft": craft, "ware": ware, "price": str(price)}


def _word(rng: random.Random, endings: list[str]) -> str:
    return rng.choice(_BEGINNINGS) + rng.choice(_MIDDLES) + rng.choice(endings)
