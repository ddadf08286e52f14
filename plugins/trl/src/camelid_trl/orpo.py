"""ORPO: the better answer is learnt by heart while the odds of the worse fall; no reference model is needed."""

from __future__ import annotations

from typing import Literal

from camelid_train.objectives import Objective
from pydantic import Field

from .dpo import MARGINS
from .objective import TrlObjective


class OrpoObjective(Objective):
    """Learn the better answer by heart and push the worse away, in one go (odds ratio preference optimisation)."""

    type: Literal["orpo"] = "orpo"
    beta: float = Field(0.1, gt=0, le=100)
    """Weight of the odds ratio beside the plain loss."""


class Orpo(TrlObjective[OrpoObjective]):
    name = "orpo"
    help = "Learn the better answer by heart and push the worse away, without a reference model."
    config = OrpoObjective
    numbers = {**MARGINS, "nll_loss": "chosen_loss"}
    rows = "PAIRS"


ORPO = Orpo()
