"""English wordings of the problem shapes.

Knows words. Knows nothing of how an answer is computed, nor which numbers are allowed.
"""

from __future__ import annotations

from .wording import Language, Wording

ENGLISH = Language(
    names=("Tom", "Ana", "Ben", "Mia", "Sam", "Eva", "Max", "Lily"),
    answer=" The answer is {result}.",
    wordings={
        "buying": Wording(
            "{who} has {m} coins and buys {n} {thing} at {p} coins each. How many coins are left?",
            "The {thing} cost {s1} coins. Then {s2} coins are left.",
            ("pens", "cups", "books", "hats", "toys"),
        ),
        "sharing": Wording(
            "{who} has {a} {thing}, gets {b} more and shares them equally among {k} friends. How many does each get?",
            "There are {s1} {thing}. Each friend gets {s2}.",
            ("nuts", "cards", "cookies", "stones", "apples"),
        ),
        "travel": Wording(
            "{who} {thing} for {h} hours at {v} km per hour, then {d} km more. How many km in total?",
            "First come {s1} km. In total {s2} km.",
            ("walks", "runs", "rides", "rows"),
        ),
        "saving": Wording(
            "A {thing} costs {goal} coins. {who} has {m} coins and saves {w} a week. How many weeks to save the rest?",
            "Still needed are {s1} coins. That takes {s2} weeks.",
            ("bike", "game", "lamp", "drum", "kite"),
        ),
        "packing": Wording(
            "{who} puts {n} bags of {e} {thing} equally into {k} boxes. How many {thing} are in each box?",
            "There are {s1} {thing}. Each box holds {s2}.",
            ("balls", "eggs", "shells", "beads", "nuts"),
        ),
        "ages": Wording(
            "{who} is {a} years old. {other} is {k} times as old. How old will {other} be in {y} years?",
            "{other} is {s1} now. Later it is {s2}.",
            ("",),
        ),
        "discount": Wording(
            "{who} has {m} coins. A {thing} costs {p} coins, today {off} less. {who} buys {n}. How many are left?",
            "One costs {s1}. All cost {s2}. Left are {s3}.",
            ("cap", "cup", "book", "ball", "cake"),
        ),
        "harvest": Wording(
            "{who} picks {a} baskets of {b} {thing} and {c} boxes of {d} {thing}. How many {thing} in total?",
            "Baskets hold {s1}. Boxes hold {s2}. In total {s3}.",
            ("apples", "pears", "plums", "figs", "lemons"),
        ),
        "tank": Wording(
            "A {thing} has {s} litres. Each minute {i} flow in and {o} flow out. How many litres after {t} minutes?",
            "Each minute adds {s1}. All add {s2}. In total {s3}.",
            ("tank", "tub", "pool", "barrel"),
        ),
        "party": Wording(
            "{who} bakes {a} trays of {b} {thing} and {c} plates of {d}. Guests eat {e}. How many are left?",
            "Trays {s1}. Plates {s2}. All {s3}. Left {s4}.",
            ("cakes", "cookies", "pies", "buns"),
        ),
        "moving": Wording(
            "{who} has {a} shelves of {b} {thing}, buys {c} more, sells {d} and packs the rest equally in {k} boxes. "
            "How many per box?",
            "Shelves {s1}. Bought {s2}. Sold {s3}. Per box {s4}.",
            ("books", "games", "cups", "toys"),
        ),
    },
)
