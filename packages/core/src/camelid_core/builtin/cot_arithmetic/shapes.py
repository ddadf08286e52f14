"""The numbers of each problem shape: which are given, and how the answer follows from them.

Knows arithmetic on small positive integers. Knows no words, no languages and no records.
"""

from __future__ import annotations

import math
import operator
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Numbers = dict[str, int]

OPERATORS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.floordiv,
}
SMALLEST, LARGEST = 2, 40
"""Bounds of a result: never 1, so that plurals are right, and short enough for a small model to copy."""


@dataclass(frozen=True, slots=True)
class ProblemShape:
    """`given` says which values each number may take; the step at index i computes `r{i + 1}` as "left op right"."""

    name: str
    given: dict[str, range]
    steps: tuple[str, ...]

    @property
    def size(self) -> int:
        """Number of assignments, with or without a valid solution."""
        return math.prod(map(len, self.given.values()))

    def assignment(self, index: int) -> Numbers:
        """The assignment at `index`, in mixed radix."""
        numbers = {}
        for name, values in self.given.items():
            index, digit = divmod(index, len(values))
            numbers[name] = values[digit]
        return numbers

    def solve(self, numbers: Numbers) -> dict[str, int | str] | None:
        """Numbers, results `r1`… and calculations `s1`… by name; None if a result is not exact, small and positive."""
        known = dict(numbers)
        shown: dict[str, int | str] = {}
        for count, step in enumerate(self.steps, start=1):
            left, sign, right = step.split()
            a, b = known[left], known[right]
            result = OPERATORS[sign](a, b)
            if not SMALLEST <= result <= LARGEST or (sign == "/" and a % b):
                return None
            known[f"r{count}"] = result
            shown[f"s{count}"] = f"{a} {sign} {b} = {result}"
        return {**known, **shown}

    def shuffled_assignments(self, rng: random.Random) -> Iterator[Numbers]:
        """Every assignment once, in an order drawn from `rng`, without listing them first."""
        return map(self.assignment, _shuffled(self.size, rng))


def _shuffled(size: int, rng: random.Random) -> Iterator[int]:
    """0 … size - 1 in mixed order: a generator of full period, its low bits scrambled, values beyond `size` skipped."""
    bits = max(size.bit_length(), 4)
    mask, half = (1 << bits) - 1, bits // 2
    step, offset = rng.randrange(mask) & ~3 | 5, rng.randrange(mask) | 1
    scramble, state = rng.randrange(mask) | 1, rng.randrange(mask)
    for _ in range(mask + 1):
        state = (state * step + offset) & mask
        mixed = ((state ^ state >> half) * scramble) & mask
        value = mixed ^ mixed >> half
        if value < size:
            yield value


_FEW, _SOME = range(2, 7), range(2, 10)

PROBLEM_SHAPES: tuple[ProblemShape, ...] = (
    ProblemShape("buying", {"n": _SOME, "p": _SOME, "m": range(12, 41)}, ("n * p", "m - r1")),
    ProblemShape("sharing", {"a": range(2, 31), "b": range(2, 21), "k": _SOME}, ("a + b", "r1 / k")),
    ProblemShape("travel", {"h": _SOME, "v": _SOME, "d": range(2, 31)}, ("h * v", "r1 + d")),
    ProblemShape("saving", {"goal": range(12, 41), "m": range(2, 21), "w": _SOME}, ("goal - m", "r1 / w")),
    ProblemShape("packing", {"n": range(2, 13), "e": range(2, 13), "k": range(2, 13)}, ("n * e", "r1 / k")),
    ProblemShape("ages", {"a": range(2, 21), "k": range(2, 5), "y": range(2, 21)}, ("k * a", "r1 + y")),
    ProblemShape(
        "discount", {"p": range(5, 13), "off": _FEW, "n": _FEW, "m": range(12, 41)}, ("p - off", "n * r1", "m - r2")
    ),
    ProblemShape("harvest", {"a": _FEW, "b": _SOME, "c": _FEW, "d": _SOME}, ("a * b", "c * d", "r1 + r2")),
    ProblemShape("tank", {"i": range(4, 13), "o": _SOME, "t": _SOME, "s": range(2, 21)}, ("i - o", "r1 * t", "r2 + s")),
    ProblemShape(
        "party",
        {"a": _FEW, "b": _SOME, "c": _FEW, "d": _SOME, "e": range(2, 21)},
        ("a * b", "c * d", "r1 + r2", "r3 - e"),
    ),
    ProblemShape(
        "moving",
        {"a": _FEW, "b": _SOME, "c": range(2, 13), "d": range(2, 13), "k": _FEW},
        ("a * b", "r1 + c", "r2 - d", "r3 / k"),
    ),
)
