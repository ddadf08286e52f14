"""Numbers in words: durations, sizes, counts. Knows no units of any page."""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """`8 s`, `2 min 05 s`, `3 h 20 min`, `4 d`; nothing for nothing."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d"


def size(count: float) -> str:
    """`270 MB`, `1.4 GB`."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            value = count / scale
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{count:.0f} B"


def count(number: float) -> str:
    """Whole, with thin groups."""
    return f"{number:,.0f}".replace(",", "\u202f")


def short_count(number: float) -> str:
    """`135 M`, `7.2 B`: a number of parameters."""
    for unit, scale in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= scale:
            return f"{number / scale:.3g} {unit}"
    return f"{number:.0f}"


def loss(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
