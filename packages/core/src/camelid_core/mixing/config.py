"""`Mixture`: what a recipe and the command line say about sources. Fields, bounds and their help."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from camelid_core.config import Config


class Mixture(Config):
    """Which rows to learn from: sources, how much of each, and what is left out."""

    sources: list[str] = Field(min_length=1)
    """Dataset names or files, each optionally with a weight: cot:0.5 takes every second row, cot:2 all twice."""
    temperature: float = Field(1.0, ge=1, le=1000)
    """Evens out the sources' shares: 1 keeps them, 2 takes the square root of each size, 1000 makes all equal."""
    caps: dict[str, int] = {}
    """At most this many rows of a source, by its name."""
    rows: int | None = Field(None, ge=1)
    """Take at most this many training rows in total."""
    seed: int = Field(0, ge=0)
    """Decides which rows are taken and held out, and how the sources take turns."""
    deduplicate: Literal["no", "exact", "near"] = "no"
    """Leave out copies, across sources too; the first stays. near also finds rows with mostly the same words."""
    drop_tags: list[str] = []
    """Leave out rows with one of these tags (categories)."""
    drop_lints: list[str] = []
    """Leave out rows in which one of these lints finds something; `camelid datasets lints` shows them."""
