"""Lengths of rows in tokens, and the effect of a cut-off.

Knows numbers per row, measured once and without any cut-off: moving the cut-off only counts again.
Knows nothing of files; `LengthService` takes rows from the collection and an encoder from the models.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from camelid_core.token_cache import EncodedDataset, TokenCache
from camelid_core.token_cache.encoded_dataset import drops_too_many, pieces
from camelid_core.tokenization.encoder import TokenArrays

from camelid_ui.services.background_work import BackgroundRunner, BackgroundWork, ReportProgress
from camelid_ui.services.models import ModelService

from .collection import DatasetCollection

SAMPLE = 512
"""Rows that lengths are measured on until all of them are counted."""


@dataclass(frozen=True, slots=True)
class CutoffEffect:
    """What one cut-off does to rows: `dropped` rows have no trained token left, `refused` rows are conversations that
    the prompt template cannot render. `trained_before` are the trained tokens without any cut-off. Texts by themselves
    are not shortened but divided: the rows give so many `examples`."""

    rows: int
    shortened: int
    dropped: int
    refused: int
    tokens: int
    trained: int
    trained_before: int
    examples: int = 0

    @property
    def whole(self) -> int:
        return self.rows - self.shortened - self.dropped - self.refused

    @property
    def too_many(self) -> bool:
        """Whether so many rows are dropped that a run would not start."""
        return drops_too_many(self.dropped, self.rows)


@dataclass(frozen=True, slots=True)
class TokenLengths:
    """Tokens and trained tokens of each row without a cut-off, and `within(cutoff)`, the trained tokens before one.
    `texts` are the rows that are texts by themselves. `exact` where these are all rows."""

    tokens: Any
    trained: Any
    within: Callable[[int], Any]
    texts: Any
    exact: bool = False

    @classmethod
    def of_sample(cls, tokens: TokenArrays, texts: Sequence[bool] = (), exact: bool = False) -> TokenLengths:
        import numpy as np

        are_texts = np.array(texts or [False] * (len(tokens.offsets) - 1), np.bool_)

        so_far = np.concatenate([[0], np.cumsum(tokens.trained)])
        starts, ends = tokens.offsets[:-1], tokens.offsets[1:]

        def within(cutoff: int) -> Any:
            return so_far[np.where(are_texts, ends, np.minimum(starts + cutoff, ends))] - so_far[starts]

        return cls(np.diff(tokens.offsets), so_far[ends] - so_far[starts], within, are_texts, exact)

    @classmethod
    def of_all(cls, encoded: EncodedDataset) -> TokenLengths:
        return cls(encoded.lengths, encoded.trained, encoded.trained_within, encoded.texts, exact=True)

    @property
    def rows(self) -> int:
        return len(self.tokens)

    @property
    def longest(self) -> int:
        return int(self.tokens.max()) if self.rows else 0

    def over(self, cutoff: int) -> int:
        """Rows that the cut-off shortens."""
        return int(self._cut_off(cutoff).sum())

    def _cut_off(self, cutoff: int) -> Any:
        return (self.tokens > cutoff) & ~self.texts

    def at(self, cutoff: int, whole: bool = False) -> CutoffEffect:
        """The effect of `cutoff`: longer rows are truncated or, with `whole`, left out."""
        import numpy as np

        trained = self.within(cutoff) * (self.tokens <= cutoff) if whole else self.within(cutoff)
        kept, refused = trained > 0, int((self.tokens == 0).sum())
        dropped, cut = self.rows - int(kept.sum()) - refused, self._cut_off(cutoff)
        return CutoffEffect(
            rows=self.rows,
            shortened=int((kept & cut).sum()),
            dropped=dropped,
            refused=refused,
            tokens=int(np.where(cut, cutoff, self.tokens)[kept].sum()),
            trained=int(trained.sum()),
            trained_before=int(self.trained.sum()),
            examples=int(pieces(self.tokens, self.texts, cutoff)[kept].sum()),
        )

    def bins(self, count: int = 48) -> list[tuple[int, int, int]]:
        """`(from, to, rows)` in equal steps; few very long rows share the last one."""
        import numpy as np

        if not self.longest:
            return []
        most = min(self.longest, max(64, int(1.6 * np.quantile(self.tokens, 0.99))))
        width = max(1, -(-(most + 1) // count))
        counts = np.bincount(np.minimum(self.tokens, most) // width, minlength=most // width + 1)
        found = [(index * width, (index + 1) * width, int(rows)) for index, rows in enumerate(counts)]
        return [*found[:-1], (found[-1][0], max(found[-1][1], self.longest), found[-1][2])]


class LengthService:
    """Lengths of a dataset's rows with a model's tokenizer and a prompt template."""

    def __init__(self, collection: DatasetCollection, models: ModelService, background: BackgroundRunner) -> None:
        self.collection = collection
        self.models = models
        self.background = background
        self._sample = functools.lru_cache(maxsize=32)(self._measure)

    def sample(self, name: str, model: str, template: str = "") -> TokenLengths:
        """Of the first `SAMPLE` rows.

        Raises:
            UnknownName, ModelError, DataError.
        """
        return self._sample(name, model, template, self.collection.version(name))

    def known(self, name: str, model: str, template: str = "") -> TokenLengths:
        """All rows where they were counted, else the sample."""
        work = self.counting(name, model, template)
        return work.result if work is not None and work.state == "done" else self.sample(name, model, template)

    def counting(self, name: str, model: str, template: str = "") -> BackgroundWork | None:
        """The count of all rows, running or ended."""
        return self.background.get(self._key(name, model, template))

    def count(self, name: str, model: str, template: str = "") -> BackgroundWork:
        """Start counting all rows.

        Raises:
            UnknownName, ModelError.
        """
        encoder = self.models.encoder(model, template)
        total = self.collection.show(name).rows
        records = self.collection.records(name)

        def do(report: ReportProgress) -> TokenLengths:
            """Through the token cache: a training run on the same rows finds them tokenised."""
            return TokenLengths.of_all(
                TokenCache().encode(records, encoder, progress=lambda done, _total: report(done))
            )

        return self.background.start(self._key(name, model, template), do, total)

    def forget(self) -> None:
        """Drop the counts: they keep their part of the token cache in use."""
        self.background.forget("count ")

    def _key(self, name: str, model: str, template: str) -> str:
        return f"count {name} {self.collection.version(name)} {model} {template}"

    def _measure(self, name: str, model: str, template: str, _version: str) -> TokenLengths:
        encoder = self.models.encoder(model, template)
        records = list(islice(self.collection.dataset(name).load("train", SAMPLE), SAMPLE))
        tokens = encoder.tokens([record.messages for record in records])
        return TokenLengths.of_sample(tokens, [record.is_text for record in records], len(records) < SAMPLE)
