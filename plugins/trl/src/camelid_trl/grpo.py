"""GRPO: several answers are sampled for each prompt, and those rewarded above their group's mean become likelier."""

from __future__ import annotations

from typing import Any, Literal

from camelid_core.errors import CamelidError, ConfigError
from camelid_train.config import Recipe
from camelid_train.objectives import Objective, TrainingRun
from camelid_train.objectives.rewards import rewards
from pydantic import Field, field_validator

from .objective import TrlObjective


class GrpoObjective(Objective):
    """Group relative policy optimisation (GRPO): reinforcement learning on sampled answers with a verifiable reward."""

    type: Literal["grpo"] = "grpo"
    reward: str = "exact-answer"
    """Reward function, which scores a sampled answer against the row's own: exact-answer gives 1 for the same final
    number, else 0. Also: `reward_funcs`."""
    group: int = Field(4, ge=2, le=1024)
    """Group size: answers sampled per prompt; batch_size × accumulation × processes must be a multiple of it.
    Also: `num_generations`."""
    answer_tokens: int = Field(128, ge=1, le=32768)
    """Maximum length of a sampled answer in tokens. Also: `max_completion_length`, `max_new_tokens`."""
    temperature: float = Field(1.0, gt=0, le=10)
    """Sampling temperature; higher makes the answers of a group more varied, 1 samples from the model's own
    distribution."""

    @field_validator("reward")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            return rewards()[value].name
        except CamelidError as error:
            raise ValueError(str(error)) from None


class Grpo(TrlObjective[GrpoObjective]):
    name = "grpo"
    help = "GRPO: reinforcement learning on the model's own sampled answers with a verifiable reward."
    config = GrpoObjective
    extra_metrics = {
        "reward": "reward",
        "reward_std": "reward_spread",
        "completions/mean_length": "answer_length",
        "completions/clipped_ratio": "answers_cut",
    }
    row_builder = "PROMPTS"

    def check(self, section: GrpoObjective, recipe: Recipe) -> None:
        super().check(section, recipe)
        train, launch = recipe.train, recipe.launch
        answers = train.batch_size * train.accumulation * launch.processes * launch.nodes
        if answers % section.group:
            raise ConfigError(
                f"objective.group={section.group} does not divide the {answers} answers of a step (train.batch_size="
                f"{train.batch_size} × train.accumulation={train.accumulation} × processes). Set one to a multiple of "
                "the other."
            )

    def one_epoch(self, section: GrpoObjective, rows: int, batch: int) -> tuple[int, int]:
        """Each prompt is as many rows of a batch as it has answers; prompts left over wait for another epoch."""
        steps = rows * section.group // batch
        return steps, steps * batch

    def heldout_loss(self, section: GrpoObjective, run: TrainingRun, trainer: Any) -> float:
        """One minus the mean reward of the greedy answers: lower is better, as with a loss."""
        return 1.0 - float(trainer.mean_reward(run.data.heldout))


GRPO = Grpo()
