"""What a run has done so far, over all its attempts.

Knows counts. A checkpoint keeps it, so that a resumed run reports the whole of its work.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """Tokens that went through the model, tokens trained on, seconds in the loop, and the held-out loss before it."""

    total_tokens: int = 0
    trained_tokens: int = 0
    seconds: float = 0.0
    base_eval_loss: float | None = None

    @property
    def tokens_per_second(self) -> float:
        return round(self.total_tokens / max(self.seconds, 1e-9), 1)
