"""GPTQ recipes: bits, group size, act-order and damping of one quantised model, and the branch that it is called by.

Knows how recipes and branches are written, and the published sets of recipes. Knows no model and no calibration.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from camelid_core.errors import UsageError, did_you_mean

BITS = (2, 3, 4, 8)
GROUP_SIZES = (-1, 16, 32, 64, 128, 256, 512, 1024)
"""Weights of a row that share scale and zero; -1 is one group for the whole row. What GPTQModel's kernels take."""
DEFAULT_DAMP = 0.01
MAIN = "main"
_SHORT = re.compile(r"(\d)b(-1|\d+)([TF])")
_BRANCH = re.compile(r"gptq-(\d)bit-(-1|\d+)g-actorder_(True|False)")


@dataclass(frozen=True, slots=True)
class GptqRecipe:
    """`damp` is the share of the Hessian's mean diagonal that is added to its diagonal."""

    bits: int
    group_size: int
    desc_act: bool
    damp: float = DEFAULT_DAMP

    @property
    def branch(self) -> str:
        """The branch of a published repository: `main` is 4 bits in groups of 128 without act-order."""
        if (self.bits, self.group_size, self.desc_act) == (4, 128, False):
            return MAIN
        return f"gptq-{self.bits}bit-{self.group_size}g-actorder_{self.desc_act}"


@dataclass(frozen=True, slots=True)
class RecipeSet:
    """Recipes that were published together, in the order of their table, and the damping that they share."""

    recipes: tuple[str, ...]
    damp: float


RECIPE_SETS: Mapping[str, RecipeSet] = {
    "airoboros": RecipeSet((MAIN, "4b64T", "4b32T", "4b128T", "8b64T", "8b128T", "8b128F", "8b-1T"), 0.1),
    "tulu": RecipeSet((MAIN, "4b32T", "4b64T", "4b128T", "8b-1T", "8b128F"), 0.01),
}
"""The sets of two published families: airoboros-l2-13b-gpt4-m2.0-GPTQ and tulu-7B-GPTQ."""


def read_recipes(texts: Iterable[str], damp: float | None = None) -> list[GptqRecipe]:
    """The recipes that `texts` name: a set, a branch, or a recipe as `4b32T` (4 bits, groups of 32, act-order).

    `damp` overrides that of a set.

    Raises:
        UsageError: none of these, or one branch twice.
    """
    recipes = [recipe for text in texts for recipe in _named(text.strip(), damp)]
    branches = [recipe.branch for recipe in recipes]
    if twice := sorted({branch for branch in branches if branches.count(branch) > 1}):
        raise UsageError(f"the recipes give the branch {twice[0]!r} twice; leave one out.")
    return recipes


def _named(text: str, damp: float | None) -> Iterator[GptqRecipe]:
    if text in RECIPE_SETS:
        named = RECIPE_SETS[text]
        yield from (replace(_read(each), damp=damp or named.damp) for each in named.recipes)
    else:
        yield replace(_read(text), damp=damp or DEFAULT_DAMP)


def _read(text: str) -> GptqRecipe:
    match = _SHORT.fullmatch(text) or _BRANCH.fullmatch(text)
    if text == MAIN:
        return GptqRecipe(4, 128, False)
    if match is None:
        raise UsageError(
            f"recipe {text!r} is not known.{did_you_mean(text, RECIPE_SETS)} Write a set "
            f"({', '.join(RECIPE_SETS)}), or bits, group size and act-order as in 4b128F, 3b32T or 8b-1T."
        )
    bits, group_size = int(match[1]), int(match[2])
    if bits not in BITS or group_size not in GROUP_SIZES:
        raise UsageError(
            f"recipe {text!r}: bits are {_listed(BITS)}, and group sizes {_listed(GROUP_SIZES)} (-1: the whole row)."
        )
    return GptqRecipe(bits, group_size, match[3].startswith("T"))


def _listed(values: Iterable[int]) -> str:
    return ", ".join(map(str, values))
