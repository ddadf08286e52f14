"""How likely continuations are after prompts, on whatever engine there is.

Knows what engines can tell. Knows nothing of tasks or texts.
"""

from __future__ import annotations

from collections.abc import Sequence

from camelid_core.errors import ModelError

from .engine import ComputesPromptLogprobs, Continuation, Engine, ScoresContinuations, TakeLogprobs


def score_continuations(
    engine: Engine, continuations: Sequence[Continuation], adapter: str | None, take: TakeLogprobs
) -> None:
    """Give `take` the log-probabilities of each continuation's tokens, in any order, each with the likeliest token.

    Raises:
        ModelError: an engine that tells no log-probabilities of given tokens, an empty prompt or continuation, or one
            too long.
    """
    if isinstance(engine, ScoresContinuations):
        engine.score_continuations(continuations, adapter, take)
        return
    if not isinstance(engine, ComputesPromptLogprobs):
        raise ModelError(
            "this engine tells no log-probabilities of given texts, which choices are scored by. "
            "Take engine=transformers, or llamacpp for a GGUF file."
        )
    for index, each in enumerate(continuations):
        start = len(each.prompt) - 1
        found = engine.prompt_logprobs([*each.prompt, *each.ids], adapter, 1)
        take(index, found[start : start + len(each.ids)])
