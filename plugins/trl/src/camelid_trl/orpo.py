"""ORPO: SFT on the chosen answer while the odds of the rejected one fall; no reference model is needed."""

from __future__ import annotations

from typing import Literal

from camelid_train.objectives import Objective
from pydantic import Field

from .dpo import REWARD_METRICS
from .objective import TrlObjective


class OrpoObjective(Objective):
    """Odds ratio preference optimisation (ORPO): SFT on the chosen answer, lower odds of the rejected one."""

    type: Literal["orpo"] = "orpo"
    beta: float = Field(0.1, gt=0, le=100)
    """ORPO beta: weight of the odds-ratio loss beside the SFT loss (lambda in the paper); the default is the paper's.
    Also: `pref_beta`, `orpo_alpha`."""


class Orpo(TrlObjective[OrpoObjective]):
    name = "orpo"
    help = "ORPO: SFT on the chosen answer plus a penalty on the rejected one, without a reference model."
    config = OrpoObjective
    extra_metrics = {**REWARD_METRICS, "nll_loss": "chosen_loss"}
    row_builder = "PAIRS"


ORPO = Orpo()
