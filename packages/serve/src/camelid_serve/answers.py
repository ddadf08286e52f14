"""The one form of an answer on its way from the engine to the page: streamed deltas, and statistics at the end.

Knows fields only. Imports no model library: the web servers' side of the engine process uses it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from camelid_core.errors import CamelidError

from .engine import TokenLogprob


@dataclass(frozen=True, slots=True)
class AnswerStats:
    """Finish reason, token counts and times of one answer. `finish` is stop, length or cancelled, or `failed` where an
    error ended the answer. `seconds` is the latency from the request to the end, `first_token` that to the first token
    (time to first token). `tokens_per_second` is the decoding speed, without prefill."""

    finish: str
    tokens: int
    prompt_tokens: int = 0
    seconds: float = 0.0
    first_token: float = 0.0
    tokens_per_second: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"tokens_per_second": round(self.tokens_per_second, 2)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> AnswerStats:
        """The inverse of `as_json`."""
        return cls(**values)


@dataclass(frozen=True, slots=True)
class AnswerDelta:
    """New text of the answer to prompt `index`, its token ids since the last delta (`new_ids`), and their
    log-probabilities where those were requested. The last delta has `stats`, the whole `answer` as the template parses
    it, and all its token `ids`; or `error`, where the answer failed."""

    index: int
    text: str
    answer: str = ""
    stats: AnswerStats | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    ids: tuple[int, ...] = ()
    new_ids: tuple[int, ...] = ()
    error: CamelidError | None = None
