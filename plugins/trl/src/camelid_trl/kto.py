"""KTO: answers labelled good become likelier, those labelled bad less likely; no preference pairs are needed."""

from __future__ import annotations

from typing import Literal

from camelid_core.errors import ConfigError
from camelid_train.config import Recipe
from camelid_train.objectives import Objective
from pydantic import Field

from .objective import TrlObjective


class KtoObjective(Objective):
    """Kahneman-Tversky optimisation (KTO): learn from single answers labelled good or bad, without pairs."""

    type: Literal["kto"] = "kto"
    beta: float = Field(0.1, gt=0, le=100)
    """KTO beta: strength of the implicit KL penalty to the reference model; higher changes the model less, the default
    is the paper's. Also: `pref_beta`, `rl_beta`."""
    good_weight: float = Field(1.0, gt=0, le=100)
    """Loss weight of good answers; raise it where they are the fewer. Also: `desirable_weight`, `kto_chosen_weight`,
    `kto_desirable_weight`."""
    bad_weight: float = Field(1.0, gt=0, le=100)
    """Loss weight of bad answers; raise it where they are the fewer. Also: `undesirable_weight`, `kto_rejected_weight`,
    `kto_undesirable_weight`."""


class Kto(TrlObjective[KtoObjective]):
    name = "kto"
    help = "KTO: learn from single answers labelled good or bad, relative to the reference model."
    config = KtoObjective
    extra_metrics = {
        "rewards/margins": "reward_margin",
        "rewards/chosen": "reward_chosen",
        "rewards/rejected": "reward_rejected",
        "kl": "kl",
    }
    row_builder = "LABELLED"
    needs_reference = True
    allows_virtual_tokens = True

    def check(self, section: KtoObjective, recipe: Recipe) -> None:
        super().check(section, recipe)
        if recipe.train.batch_size < 2:
            raise ConfigError(
                "train.batch_size=1 does not go with objective.type='kto', which measures an answer against the others "
                "of its batch. Set train.batch_size=2 or more."
            )


KTO = Kto()
