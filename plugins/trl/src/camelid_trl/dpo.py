"""DPO: the chosen of two answers becomes likelier than the rejected one, relative to the reference model."""

from __future__ import annotations

from typing import Literal

from camelid_train.objectives import Objective
from pydantic import Field

from .objective import TrlObjective

REWARD_METRICS = {
    "rewards/margins": "reward_margin",
    "rewards/accuracies": "reward_accuracy",
    "rewards/chosen": "reward_chosen",
    "rewards/rejected": "reward_rejected",
}


class DpoObjective(Objective):
    """Direct preference optimisation (DPO): prefer the chosen of two answers over the rejected one."""

    type: Literal["dpo"] = "dpo"
    beta: float = Field(0.1, gt=0, le=100)
    """DPO beta: strength of the implicit KL penalty to the reference model; higher changes the model less, the default
    is the paper's. Also: `pref_beta`, `dpo_beta`, `rl_beta`."""
    loss: Literal["sigmoid", "hinge", "ipo", "robust"] = "sigmoid"
    """Loss on a preference pair: sigmoid is DPO as published, hinge is SLiC's, ipo aims at a fixed margin, robust
    allows for label noise. Also: `loss_type`, `pref_loss`."""
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """Label smoothing: expected share of pairs with chosen and rejected exchanged; only sigmoid and robust use it.
    Also: `dpo_label_smoothing`."""


class Dpo(TrlObjective[DpoObjective]):
    name = "dpo"
    help = "DPO: make the chosen of two answers likelier than the rejected one, relative to the reference model."
    config = DpoObjective
    extra_metrics = REWARD_METRICS
    row_builder = "PAIRS"
    needs_reference = True
    allows_virtual_tokens = True


DPO = Dpo()
