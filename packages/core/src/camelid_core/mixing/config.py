"""`Mixture`: the configuration of a dataset mixture. Knows fields, bounds and their help."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from camelid_core.config import Config


class Mixture(Config):
    """A dataset mixture: which datasets, how much of each, and which rows are left out."""

    sources: list[str] = Field(min_length=1)
    """Datasets: names or files, each optionally with a weight: cot:0.5 takes every second row, cot:2 all twice.
    Also: `dataset`, `datasets`, `interleave_probs`."""
    temperature: float = Field(1.0, ge=1, le=1000)
    """Mixing temperature, which evens out the datasets' shares: 1 keeps them, 2 takes the square root of each size,
    1000 makes all equal. Also: temperature sampling."""
    caps: dict[str, int] = {}
    """Caps: maximum rows of a dataset, by its name. Also: `max_samples`, `num_samples`."""
    rows: int | None = Field(None, ge=1)
    """Maximum training rows in total, of all datasets; empty takes all. Also: `max_train_samples`."""
    seed: int = Field(0, ge=0)
    """Data seed: decides which rows are sampled, and in what order the datasets are interleaved. Also: `data_seed`."""
    deduplicate: Literal["no", "exact", "near"] = "no"
    """Deduplication, across datasets too; the first copy stays. near also finds near-duplicates, rows with mostly the
    same words (MinHash). Also: `dataset_exact_deduplication`."""
    drop_tags: list[str] = []
    """Row filter by tag: leave out rows with one of these tags (categories)."""
    drop_lints: list[str] = []
    """Row filter by data quality: leave out rows in which one of these lints finds something; `camelid datasets lints`
    shows them."""
