r"""A number as people and models write it, whole: 1,234.5, 5e3, 5 × 10^3, 1/2, 1 1/2, \frac{1}{2}, 2^10, 0x1F, 3万.

Times, dates and versions (10:30, 2024-05-06, 1.2.3) are values too and stay as they are written, so that a piece of one
is never taken for it. Knows no units, no number words below a hundred, and no comma as the decimal sign.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

_CHARACTERS = str.maketrans(
    {
        **dict(zip("０１２３４５６７８９．－−＋：＊／×⁄", "0123456789.--+:*/*/", strict=True)),
        "\u202f": " ",
        "\u2009": " ",
    }
)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_VULGAR = re.compile("([0-9])?([¼-¾⅐-⅞])")
_BRACED = r"(?:\{\s*(-?[0-9.,]+)\s*\}|\s*([0-9]))"
_REWRITINGS = (
    (re.compile("(?<=[０-９])，(?=[０-９]{3}(?![０-９]))"), lambda found: ","),
    (_VULGAR, lambda found: f"{found[1] + ' ' if found[1] else ''}{unicodedata.normalize('NFKC', found[2])}"),
    (re.compile("(?<=[0-9])[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+"), lambda found: "^" + found[0].translate(_SUPERSCRIPTS)),
    (re.compile(r"(?<=[0-9])(?:\{,\}|\\[,!]|[\u202f\u2009'’])(?=[0-9]{3}(?![0-9]))"), lambda found: ","),
    (re.compile(r"\\(?:left|right|displaystyle)(?![a-zA-Z])|\\(?=[$%])"), lambda found: ""),
    (re.compile(r"\\(?:times|cdot)(?![a-zA-Z])"), lambda found: "*"),
    (re.compile(r"(?<=[0-9])\s*\\(?:text|mathrm)\{[^{}0-9]*\}(?:\^\{?[0-9]\}?)?"), lambda found: ""),
    (
        re.compile(rf"([0-9])?\\[dtc]?frac{_BRACED}{_BRACED}"),
        lambda found: f"{found[1] + ' ' if found[1] else ''}{found[2] or found[3]}/{found[4] or found[5]}",
    ),
    (
        re.compile(r"(?<=[0-9])\s?(?:\*\*(?=-?[0-9])|\^)\s?(?:\{\s?(-?[0-9]+)\s?\}|(-?[0-9]+))"),
        lambda found: f"^{found[1] or found[2]}",
    ),
)
"""LaTeX and typography → the plain notation that NUMBER reads."""

_DIGITS = "(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.[0-9]+)?|(?<![A-Za-z0-9.)])\.[0-9]+)"
_SCALES = {
    "hundred": 2,
    "thousand": 3,
    "million": 6,
    "billion": 9,
    "trillion": 12,
    "万": 4,
    "萬": 4,
    "亿": 8,
    "億": 8,
}
_SCALE = "|".join(name + ("s?(?![A-Za-z])" if name.isascii() else "") for name in _SCALES)
_AS_WRITTEN = (
    r"""(?:[0-9]{4}-[0-9]{2}-[0-9]{2} | [0-9]+(?::[0-9]+)+ | [0-9]+(?:\.[0-9]+){2,} | [0-9]+(?:/[0-9]+){2,})(?![0-9])"""
)
_SIGN = r"(?:(?<![A-Za-z0-9_.)}])-[$€£¥￥]?)"
NUMBER = "".join(
    rf"""(?>{_SIGN}?(?:
    {_AS_WRITTEN}
  | 0[xX][0-9A-Fa-f]+(?![0-9A-Za-z])
  | [0-9]+\s+[0-9]+/[0-9]+(?!\.?[0-9])
  | {_DECIMAL}\s?/\s?-?{_DECIMAL}
  | {_DECIMAL}(?:[eE][+-]?[0-9]+(?![A-Za-z0-9]) | \s?[*x]\s?10\^-?[0-9]+ | \^-?[0-9]+)?(?:\s?(?:{_SCALE}))?
))""".split()
)
"""Regular expression for texts in plain notation; atomic, so that a part of a number never stands for it."""

_PARTS = re.compile(
    rf"""(?P<sign>-)?[$€£¥￥]?(?:
        (?P<written>{_AS_WRITTEN}) | 0x(?P<hex>[0-9a-f]+) | (?P<whole>[0-9]+)\s+(?P<over>[0-9]+)/(?P<under>[0-9]+)
      | (?P<top>[0-9.,]+)\s?/\s?(?P<bottom>-?[0-9.,]+)
      | (?P<base>[0-9.,]+)(?:e(?P<e>[+-]?[0-9]+) | \s?[*x]\s?10\^(?P<ten>-?[0-9]+) | \^(?P<power>-?[0-9]+))?
        (?:\s?(?P<scale>{_SCALE}))?
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_MOST_DIGITS = 1000
"""Beyond it a number is compared as it is written: it would take too long to compute."""


def plain_notation(text: str) -> str:
    """The text with one way to write digits, signs, powers and fractions."""
    for pattern, rewritten in _REWRITINGS:
        text = pattern.sub(rewritten, text)
    return text.translate(_CHARACTERS)


@dataclass(frozen=True, slots=True)
class Number:
    """`value` where it could be computed, else `written`."""

    written: str
    value: Fraction | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """A match of NUMBER."""
        found = _PARTS.fullmatch(text)
        assert found, text  # NUMBER matches nothing else
        parts = {name: part.replace(",", "").lower() for name, part in found.groupdict("").items()}
        value = _value(parts)
        sign = "-" if parts["sign"] else ""
        return cls(sign + _written(parts), -value if value is not None and sign else value)

    def normal(self) -> str:
        """Equal numbers give equal texts: 1234.5, 1/3, -8."""
        return self.written if self.value is None else _exact(self.value)


def _value(parts: dict[str, str]) -> Fraction | None:
    exponent = parts["e"] or parts["ten"] or parts["power"] or "0"
    if parts["written"] or sum(map(len, parts.values())) > _MOST_DIGITS or abs(int(exponent)) > _MOST_DIGITS:
        return None
    try:
        return _computed(parts, int(exponent))
    except ZeroDivisionError:
        return None


def _computed(parts: dict[str, str], exponent: int) -> Fraction | None:
    if parts["hex"]:
        return Fraction(int(parts["hex"], 16))
    if parts["whole"]:
        return int(parts["whole"]) + Fraction(int(parts["over"]), int(parts["under"]))
    if parts["top"]:
        return Fraction(parts["top"]) / Fraction(parts["bottom"])
    scale: Fraction = Fraction(10) ** _SCALES.get(parts["scale"].removesuffix("s"), 0)
    if not parts["power"]:
        ten: Fraction = Fraction(10) ** exponent
        return Fraction(parts["base"]) * ten * scale
    if len(parts["base"]) * abs(exponent) > _MOST_DIGITS:
        return None
    power: Fraction = Fraction(parts["base"]) ** exponent
    return power * scale


def _written(parts: dict[str, str]) -> str:
    """For what is not computed: without separators and needless zeros."""
    if not parts["base"]:
        return "".join(
            [parts["written"], parts["hex"] and f"0x{parts['hex']}", parts["whole"] and f"{parts['whole']} "]
            + [f"{parts[a]}/{parts[b]}" for a, b in (("over", "under"), ("top", "bottom")) if parts[a]]
        )
    power = f"^{parts['power']}" if parts["power"] else f"e{parts['e'] or parts['ten']}"
    return _decimal(parts["base"]) + (power if power != "e" else "") + parts["scale"]


def _exact(value: Fraction) -> str:
    """As a decimal where that ends, else as a fraction in lowest terms."""
    places = 0
    while value.denominator != 1 and places <= 4 * _MOST_DIGITS and 10**places % value.denominator:
        if places == 0 and not _decimal_ends(value.denominator):
            return f"{value.numerator}/{value.denominator}"
        places += 1
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    sign = "-" if value < 0 else ""
    return sign + _decimal(f"{digits[:-places]}.{digits[-places:]}" if places else digits)


def _decimal_ends(denominator: int) -> bool:
    for factor in (2, 5):
        while denominator % factor == 0:
            denominator //= factor
    return denominator == 1


def _decimal(number: str) -> str:
    whole, _, fraction = number.partition(".")
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole
