"""Totals of a run over all its attempts: tokens, seconds, losses, early stopping.

Knows counts, the lowest held-out loss and why the run ended. A checkpoint keeps them, so that a resumed run reports
the whole of its work and decides as an uninterrupted one does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_SMOOTHING = 0.8


@dataclass(slots=True)
class RunTotals:
    """Tokens seen, tokens trained on, seconds in the training loop, and the held-out loss before it.

    `best_loss` is the lowest held-out loss so far, `best_step` where it was, `worse` how many measurements there
    were since, and `measured` the step of the last one, `eval_loss`. `stopped` is why the run ended before its last
    step: early, loss, asked or empty. `last_loss` is the training loss reported last, `open_loss` the sum of those
    that were not reported yet, since step `reported`.
    `micro_batch` is the size of the micro-batch and `checkpointing` whether gradient checkpointing is on, where memory
    ran out and changed them.
    """

    total_tokens: int = 0
    trained_tokens: int = 0
    seconds: float = 0.0
    base_eval_loss: float | None = None
    eval_loss: float | None = None
    best_loss: float | None = None
    best_step: int = 0
    worse: int = 0
    measured: int = 0
    stopped: str = ""
    last_loss: float | None = None
    open_loss: float = 0.0
    reported: int = 0
    logged: int = 0
    average: float = 0.0
    micro_batch: int | None = None
    checkpointing: bool = False

    @property
    def tokens_per_second(self) -> float:
        return round(self.total_tokens / max(self.seconds, 1e-9), 1)

    @property
    def smoothed(self) -> float | None:
        """The moving average of the reported training losses, unbiased from the first one on."""
        return self.average / (1 - _SMOOTHING**self.logged) if self.logged else None

    def note_loss(self, loss: float) -> float | None:
        """Add a reported training loss to the moving average, which is returned."""
        self.last_loss = loss
        self.logged += 1
        self.average = _SMOOTHING * self.average + (1 - _SMOOTHING) * loss
        return self.smoothed

    def note_measured(self, step: int, loss: float) -> bool:
        """Add a held-out loss; True if it is the lowest so far."""
        self.measured, self.eval_loss = step, loss
        if not math.isfinite(loss) or (self.best_loss is not None and loss >= self.best_loss):
            self.worse += 1
            return False
        self.best_loss, self.best_step, self.worse = loss, step, 0
        return True
