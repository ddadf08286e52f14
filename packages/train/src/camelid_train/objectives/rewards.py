"""`Reward`: a verifiable reward function, which scores an answer by a rule that anyone can check.

Knows texts. Knows nothing of sampling or of models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from camelid_core.final_answers import same_answer
from camelid_core.plugins import load_host
from camelid_core.registry import Registry


@dataclass(frozen=True, slots=True)
class Reward:
    """`score(answer, reference)`: the reference is the row's own answer."""

    name: str
    help: str
    score: Callable[[str, str], float]


def rewards() -> Registry[Reward]:
    """Every installed reward by name."""
    return load_host().registry("camelid_rewards")


EXACT_ANSWER = Reward(
    "exact-answer",
    "1 where both texts state the same final number, else 0.",
    lambda answer, reference: float(same_answer(answer, reference)),
)
