"""Estimate of what a recipe will take: rows, optimizer steps, tokens, memory, time.

Knows lengths, sizes and tuning methods roughly. Loads no weights; the preflight of a run measures exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

from camelid_core.datasets.sources import parse_sources
from camelid_core.models.devices import describe_device
from camelid_train.config import Recipe
from camelid_train.memory_estimate import estimated_memory
from camelid_train.objectives.steps import steps_of

from camelid_ui.services.data import DataServices
from camelid_ui.services.models import ModelService


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a recipe will take. `truncated` and `dropped` are shares of the rows: the largest of any source, and of all
    of them. Bytes and seconds are rough; `seconds` is 0 where no similar run was made here yet."""

    rows: int
    steps: int
    tokens: int
    trained_tokens: int
    truncated: float
    dropped: float
    memory: int
    free: int
    seconds: float

    @property
    def fits(self) -> bool:
        return self.memory < self.free


def estimate(recipe: Recipe, data: DataServices, models: ModelService, speed: float) -> Estimate:
    """`speed` is in tokens per second; 0 where it is not known."""
    shares = _source_shares(data, recipe)
    rows = sum(share.rows for share in shares)
    weight = rows or 1
    tokens = sum(share.rows * share.tokens for share in shares) / weight
    trained = sum(share.rows * share.trained for share in shares) / weight
    examples = sum(round(share.rows * share.examples) for share in shares)
    steps, _, times = steps_of(recipe, examples, recipe.launch.processes * recipe.launch.nodes) if rows else (0, 0, 0)
    seen = rows * times
    return Estimate(
        rows=rows,
        steps=steps,
        tokens=int(seen * tokens),
        trained_tokens=int(seen * trained),
        truncated=max((share.over for share in shares), default=0.0),
        dropped=sum(share.rows * share.dropped for share in shares) / weight,
        memory=estimated_memory(recipe, models.resolve(recipe.model.name), tokens * 1.5).total,
        free=describe_device().free,
        seconds=seen * tokens / speed if speed else 0.0,
    )


@dataclass(frozen=True, slots=True)
class _SourceShare:
    """One source: its rows, mean tokens and trained tokens per row, the shares of rows truncated and dropped, and how
    many examples a row gives: more than one where texts are divided."""

    rows: int
    tokens: float
    trained: float
    over: float
    dropped: float
    examples: float


def _source_shares(data: DataServices, recipe: Recipe) -> list[_SourceShare]:
    section = recipe.data
    entries = [
        data.collection.find(source.name) for source in parse_sources(section.sources, data.collection.host.datasets)
    ]
    heldout_rows = -(-section.eval_rows // max(1, len(entries)))
    sizes = [entry.rows - (0 if entry.heldout else min(heldout_rows, entry.rows // 10)) for entry in entries]
    shares = []
    for part in data.mix.plan(section, sizes):
        lengths = data.lengths.known(part.name, recipe.model.name, section.template)
        cut, count = lengths.at(section.cutoff, section.too_long == "skip"), max(1, lengths.rows)
        shares.append(
            _SourceShare(
                rows=part.taken,
                tokens=cut.tokens / count,
                trained=cut.trained / count,
                over=lengths.over(section.cutoff) / count,
                dropped=cut.dropped / count,
                examples=max(1.0, (cut.examples + cut.dropped + cut.refused) / count),
            )
        )
    return shares
