"""Built-in texts, for models that were trained on nothing that is here: prose, code, lists and letters in several
languages, problems with their solutions, and a generated day book.

Knows texts, written for this purpose. Knows nothing of tokens or models.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from camelid_core.builtin.cot_arithmetic import generate
from camelid_core.records import Record, text_record

from camelid_serve.evaluations.synthetic_text import synthetic_day_book

NAME = "built-in texts"
_DAY_BOOK_CHARACTERS = 900

TEXTS = (
    "The ferry left at six, while the harbour was still grey. Two fishermen sat on the coils of rope and "
    "shared a thermos of coffee; neither of them spoke until the lighthouse was behind them. By noon the wind "
    "had turned to the south, and what had been a quiet crossing became a long afternoon of holding on to the "
    "rail.",
    "A sorting algorithm is called stable if it keeps the order of elements whose keys are equal. Merge sort "
    "is stable, because of two equal elements it takes the left one first. Quicksort usually is not: "
    "partitioning moves elements over long distances, and nothing remembers where they came from.",
    "def moving_average(values, width):\n    if width < 1:\n        raise ValueError('width must be "
    "positive')\n    total = sum(values[:width])\n    averages = [total / width]\n    for old, new in "
    "zip(values, values[width:]):\n        total += new - old\n        averages.append(total / width)\n    "
    "return averages\n",
    "Dear Ms Okafor,\n\nthank you for your letter of 3 March. We have looked into the delay of your order. The "
    "parcel was held at the border for nine days, as a form was missing; it has been on its way again since "
    "Tuesday. We are sorry for the trouble, and have refunded the postage.\n\nYours sincerely,\nThe dispatch "
    "team",
    "Vegetable soup for four: peel two carrots, one leek and three potatoes, and cut them into small pieces. "
    "Heat a spoonful of oil in a pot, let the leek soften for five minutes, then add the rest and a litre of "
    "water. Salt it, simmer for twenty minutes, and serve with bread.",
    "Q: Why does ice float on water?\nA: Water is densest at about four degrees. When it freezes, its "
    "molecules arrange themselves in a lattice with more space between them than in the liquid. The same mass "
    "takes more room, so ice is lighter than the water around it and swims on top.",
    "Die Bibliothek öffnet montags erst um zehn Uhr. Wer ein Buch zurückgeben möchte, kann es jederzeit in den "
    "Kasten neben dem Eingang legen. Für die Ausleihe braucht man einen Ausweis, der ein Jahr lang gilt und "
    "für Schüler kostenlos ist. Verlängern lässt sich jedes Buch zweimal, sofern niemand darauf wartet.",
    "光合作用是植物利用阳光把水和二氧化碳变成糖和氧气的过程。它主要发生在叶子里的叶绿体中。"
    "白天植物吸收二氧化碳，放出氧气；夜里没有阳光，光合作用停止，只剩下呼吸作用。"
    "地球上大部分生物的能量都直接或间接来自这一过程。",
    "Le marché se tient chaque samedi sur la place de l'église. On y trouve des légumes de saison, du fromage "
    "de chèvre et du pain cuit au bois. Vers midi, les marchands baissent leurs prix, et les habitués "
    "reviennent avec des paniers vides pour profiter des dernières caisses de pommes.",
    "| city | river | bridges |\n| --- | --- | ---: |\n| Arlen | Vesk | 18 |\n| Rodo | Timmer | 30 |\n| Vara | "
    "Danna | 9 |\n\nOf the three cities in the table, Rodo has the most bridges and Vara the fewest. Together "
    "they have 57.",
    "Minutes of 12 May. Present: Ana, Jonas, Mei. 1. The budget for the summer was approved with one change: "
    "travel costs are counted apart. 2. Jonas reports that the new server answers in 40 ms instead of 210. 3. "
    "Mei will write to the suppliers until Friday. Next meeting: 26 May, 10 a.m.",
    "If all squares are rectangles and some rectangles are red, it does not follow that some squares are red: "
    "the red rectangles may all be longer than they are wide. It does follow, though, that whatever is not a "
    "rectangle is not a square. Conclusions in one direction are seldom conclusions in the other.",
)


def built_in_records(count: int) -> Iterator[Record]:
    """So many records: texts, problems and pages of the day book in turn, as long as there are of each."""
    return islice(_mixed(count), count)


def _mixed(count: int) -> Iterator[Record]:
    problems = generate("heldout", count)
    for number in range(count):
        if number < len(TEXTS):
            yield text_record(TEXTS[number], f"text-{number}", NAME)
        yield next(problems)
        yield text_record(synthetic_day_book(_DAY_BOOK_CHARACTERS, number), f"day-book-{number}", NAME)
