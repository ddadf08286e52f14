"""KTO: answers that somebody called good become likelier, those called bad less so; no pairs are needed."""

from __future__ import annotations

from typing import Literal

from camelid_core.errors import ConfigError
from camelid_train.config import Recipe
from camelid_train.objectives import Objective
from pydantic import Field

from .objective import TrlObjective


class KtoObjective(Objective):
    """Learn from answers that were called good or bad, one by one (Kahneman-Tversky optimisation)."""

    type: Literal["kto"] = "kto"
    beta: float = Field(0.1, gt=0, le=100)
    """How strongly the model is held to what it was; higher changes it less."""
    good_weight: float = Field(1.0, gt=0, le=100)
    """Weight of good answers; raise it where they are few."""
    bad_weight: float = Field(1.0, gt=0, le=100)
    """Weight of bad answers; raise it where they are few."""


class Kto(TrlObjective[KtoObjective]):
    name = "kto"
    help = "Learn from answers that were called good or bad, one by one."
    config = KtoObjective
    numbers = {
        "rewards/margins": "reward_margin",
        "rewards/chosen": "reward_chosen",
        "rewards/rejected": "reward_rejected",
        "kl": "kl",
    }
    rows = "VERDICTS"
    compares = True
    prefixed = True

    def check(self, section: KtoObjective, recipe: Recipe) -> None:
        super().check(section, recipe)
        if recipe.train.batch_size < 2:
            raise ConfigError(
                "train.batch_size=1 does not go with objective.type='kto', which measures an answer against the others "
                "of its batch. Set train.batch_size=2 or more."
            )


KTO = Kto()
