"""`TrlObjective`: what our four objectives have in common: trl's trainer on our rows.

Knows which rows and which trainer belong to an objective. Imports no trl.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from camelid_core.errors import ConfigError
from camelid_core.plugins import Host
from camelid_core.token_cache.cache import EncodingProgress
from camelid_core.tokenization.encoder import Encoder
from camelid_train.config import DataSection, Recipe
from camelid_train.data import PreparedData
from camelid_train.methods.registry import method_of
from camelid_train.methods.virtual_tokens import VirtualTokens
from camelid_train.objectives import LearningObjective, TrainingRun
from camelid_train.objectives.learning_objective import ObjectiveT


class TrlObjective(LearningObjective[ObjectiveT]):
    """`rows` names a kind in `preparing`; the trainer is made by the module in `trainers` that is called like this.

    `compares` says whether the loss compares with the model as it was, `prefixed` whether it allows for virtual
    tokens before each row.
    """

    rows: str
    compares: bool = False
    prefixed: bool = False

    def check(self, section: ObjectiveT, recipe: Recipe) -> None:
        method, ours, theirs = method_of(recipe.method), f"objective.type={self.name!r}", recipe.method.type
        if self.compares and not method.keeps_base(recipe.method):
            raise ConfigError(
                f"{ours} compares with the model as it was, and the starting values of method.type={theirs!r} change "
                'it. Set method.initial="default".'
            )
        if not self.prefixed and isinstance(method, VirtualTokens):
            raise ConfigError(
                f"{ours} does not go with method.type={theirs!r}, which puts virtual tokens before each row. "
                'Set method.type="lora".'
            )
        if recipe.train.packing == "on":
            raise ConfigError(f"{ours} needs rows apart, and train.packing='on' joins them. Set train.packing='auto'.")

    def prepare(
        self,
        section: ObjectiveT,
        data: DataSection,
        encoder: Encoder,
        host: Host,
        progress: EncodingProgress | None = None,
    ) -> PreparedData:
        from . import preference_data

        return preference_data.prepare(getattr(preference_data, self.rows), data, encoder, host, progress)

    def trainer(self, section: ObjectiveT, run: TrainingRun) -> Any:
        return import_module(f"{__package__}.trainers.{self.name}").trainer(section, run)

    def heldout_loss(self, section: ObjectiveT, run: TrainingRun, trainer: Any) -> float:
        return float(trainer.evaluate(run.data.heldout)["eval_loss"])
