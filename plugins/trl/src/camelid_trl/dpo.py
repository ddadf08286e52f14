"""DPO: the better of two answers becomes likelier than the worse, measured against the model as it was."""

from __future__ import annotations

from typing import Literal

from camelid_train.objectives import Objective
from pydantic import Field

from .objective import TrlObjective

MARGINS = {
    "rewards/margins": "reward_margin",
    "rewards/accuracies": "reward_accuracy",
    "rewards/chosen": "reward_chosen",
    "rewards/rejected": "reward_rejected",
}


class DpoObjective(Objective):
    """Prefer the better of two answers (direct preference optimisation)."""

    type: Literal["dpo"] = "dpo"
    beta: float = Field(0.1, gt=0, le=100)
    """How strongly the model is held to what it was; higher changes it less."""
    loss: Literal["sigmoid", "hinge", "ipo", "robust"] = "sigmoid"
    """sigmoid is DPO as published; ipo aims at a set margin, robust allows for pairs that are the wrong way round."""
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """Share of pairs that may be the wrong way round; sigmoid and robust heed it."""


class Dpo(TrlObjective[DpoObjective]):
    name = "dpo"
    help = "Prefer the better of two answers, measured against the model as it was."
    config = DpoObjective
    numbers = MARGINS
    rows = "PAIRS"
    compares = True
    prefixed = True


DPO = Dpo()
