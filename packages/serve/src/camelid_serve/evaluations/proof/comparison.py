"""The measurement of a proof: the source's scores, then the export's beside them, text by text.

Knows engines, one after the other, and how a later attempt resumes. Knows nothing of limits, files of the result or
words.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from camelid_core.errors import DiskFull, ModelError
from camelid_core.models.resolved_model import ResolvedModel
from camelid_core.plugins import Host
from camelid_core.tasks import Interrupted, TaskContext

from camelid_serve.config import EngineConfig
from camelid_serve.evaluations.greedy_answers import GreedyAnswer, greedy_answers
from camelid_serve.loaded_models import LoadedModel, load_resolved_model
from camelid_serve.predict.batch_answers import TaskProgress
from camelid_serve.predict.work_log import WorkLog

from .proof_config import ProofConfig
from .text_scores import TokenizedText, score, tells_distributions
from .token_scores import Scores, ScoresOnDisk, StoredScores, divergences, joined

WORK = "proof.work.jsonl"
_RESERVE = 16_000_000
"""What else a job writes meanwhile: events, its log, the job table."""


@dataclass(frozen=True, slots=True)
class Material:
    """What both models are given: texts, and prompts for samples with what ends their answers."""

    texts: Sequence[TokenizedText]
    prompts: Sequence[Sequence[int]]
    stops: frozenset[int]


@dataclass(slots=True)
class Side:
    """What was seen of one model in this attempt; `whole` says that its engine tells whole distributions."""

    whole: bool = False
    samples: list[GreedyAnswer] = field(default_factory=list)
    generated: int = 0
    generating: float = 0.0
    read: int = 0
    reading: float = 0.0

    @property
    def generation_speed(self) -> float | None:
        """Generated tokens per second, all samples at once."""
        return self.generated / self.generating if self.generating else None

    @property
    def scoring_speed(self) -> float | None:
        """Tokens read and scored per second; None where an earlier attempt did it."""
        return self.read / self.reading if self.reading else None


@dataclass(frozen=True, slots=True)
class TextComparison:
    """Sums over the counted tokens of one text; losses are None where a probability is not known."""

    tokens: int
    divergence: float
    largest: float
    equal: int
    source_loss: float | None
    loss: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    source: Side
    export: Side
    texts: list[TextComparison]


class ComparisonRun:
    """One attempt at comparing `source` with `export`; `identity` says what its stored numbers are of."""

    def __init__(
        self, config: ProofConfig, material: Material, identity: str, host: Host, context: TaskContext
    ) -> None:
        self._config = config
        self._material = material
        self._host = host
        self._context = context
        self._stored = ScoresOnDisk(f"scores-{identity[:16]}", context.directory, context.earlier_attempts)
        self._work = WorkLog(WORK, identity, context.directory, context.earlier_attempts)
        counted = sum(len(text.counted) for text in material.texts)
        self.progress = TaskProgress(context, 2 * counted, unit="tokens")

    def run(self, source: ResolvedModel, export: ResolvedModel) -> Comparison:
        """Measure. A request to finish ends with the texts that were compared by then.

        Raises:
            ModelError: an engine that cannot do it, or ids that the export does not know.
            DiskFull: the source's scores do not fit.
            Interrupted: asked to save; what was measured is kept for the next attempt.
        """
        with self._work:
            self._check_disk(source)
            first, second = Side(), Side()
            self._measure(source, self._config.source_engine_config, first, self._score_source)
            self._measure(export, self._config.export_engine_config, second, self._score_export)
            texts = [TextComparison(**self._work.done[number]) for number in self._work.done]
        return Comparison(first, second, texts)

    def _measure(self, model: ResolvedModel, engine: EngineConfig, side: Side, score_all: Any) -> None:
        with self.progress.paused():
            loaded = load_resolved_model(model, self._host, engine, lambda text: self._context.emit("log", text=text))
        with closing(loaded):
            side.whole = tells_distributions(loaded.engine)
            self._check_ids(loaded)
            with self.progress.paused():
                self._generate(loaded, side)
            score_all(loaded, side)

    def _check_ids(self, loaded: LoadedModel) -> None:
        known = loaded.resolved.config.get("vocab_size")
        highest = max(max(text.ids) for text in self._material.texts)
        if isinstance(known, int) and highest >= known:
            raise ModelError(
                f"{loaded.resolved.name!r} knows {known:,} tokens, and the texts have token {highest:,}: it is no "
                "export of that source."
            )

    def _generate(self, loaded: LoadedModel, side: Side) -> None:
        started = time.monotonic()
        prompts, tokens = self._material.prompts, self._config.sample_tokens
        side.samples = greedy_answers(loaded, prompts, self._material.stops, tokens)
        side.generating = time.monotonic() - started
        side.generated = sum(token is not None for answer in side.samples for token in answer.tokens)

    def _score_source(self, loaded: LoadedModel, side: Side) -> None:
        for number, text in self._pending(side):
            if number not in self._stored:
                pieces: list[Scores] = []
                self._timed_score(loaded, text, side, pieces.append)
                self._stored.add(number, joined(pieces))
            self.progress.advance(len(text.counted), len(text.ids))

    def _score_export(self, loaded: LoadedModel, side: Side) -> None:
        for number, text in self._pending(side):
            if number not in self._stored:
                return  # asked to finish before the source had read it
            sums = _Sums(self._stored[number])
            self._timed_score(loaded, text, side, sums.add)
            self._work.add(number, sums.as_json())
            self._stored.remove(number)
            self.progress.advance(len(text.counted), len(text.ids))

    def _pending(self, side: Side) -> Any:
        """Texts by number that were not compared before, until a stop is requested."""
        for number, text in enumerate(self._material.texts):
            if number in self._work.done:
                self.progress.skip(len(text.counted))
                continue
            stop = self._context.stop_requested()
            if stop == "save":
                raise Interrupted
            if stop == "finish":
                return
            yield number, text

    def _timed_score(self, loaded: LoadedModel, text: TokenizedText, side: Side, take: Any) -> None:
        started = time.monotonic()
        score(loaded, text, self._config.top, take)
        side.reading += time.monotonic() - started
        side.read += len(text.ids)

    def _check_disk(self, source: ResolvedModel) -> None:
        """Refuse before the start what the disk cannot hold: two bytes for each token of the vocabulary."""
        width = int(source.config.get("vocab_size") or 0)
        pending = [
            text
            for number, text in enumerate(self._material.texts)
            if number not in self._work.done and number not in self._stored
        ]
        needed = sum(len(text.counted) for text in pending) * (2 * width + 16) + _RESERVE
        free = shutil.disk_usage(self._context.directory).free
        if needed > free:
            raise DiskFull(
                f"The disk is full: the scores of {len(pending):,} texts take {needed:,} bytes until they are "
                f"compared, and {str(self._context.directory)!r} has {free:,} left. Give fewer texts (--rows), shorter "
                "ones (cutoff=256), or another CAMELID_HOME."
            )


class _Sums:
    """Adds up what is compared of one text, as its pieces come."""

    def __init__(self, source: StoredScores) -> None:
        self._source = source
        self._at = self._equal = 0
        self._divergence = self._largest = self._source_loss = self._loss = 0.0

    def add(self, piece: Scores) -> None:
        ours = self._source.rows(self._at, self._at + len(piece))
        found = divergences(ours, piece)
        self._at += len(piece)
        self._divergence += float(found.sum())
        self._largest = max(self._largest, float(found.max()))
        self._equal += int((ours.top == piece.top).sum())
        self._source_loss -= float(ours.own.double().sum())
        self._loss -= float(piece.own.double().sum())

    def as_json(self) -> dict[str, Any]:
        return {
            "tokens": self._at,
            "divergence": self._divergence,
            "largest": self._largest,
            "equal": self._equal,
            "source_loss": _known(self._source_loss),
            "loss": _known(self._loss),
        }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
