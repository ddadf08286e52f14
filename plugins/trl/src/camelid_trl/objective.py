"""`TrlObjective`: what DPO, KTO, ORPO and GRPO have in common: trl's trainer on Camelid's rows.

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
    """`row_builder` names a `RowBuilder` in `preference_data`; the module in `trainers` of its name makes the trainer.

    `needs_reference` says whether the loss compares with a reference model (the model before training),
    `allows_virtual_tokens` whether the tuning method may put virtual tokens before each row.
    """

    row_builder: str
    needs_reference: bool = False
    allows_virtual_tokens: bool = False

    def check(self, section: ObjectiveT, recipe: Recipe) -> None:
        method, objective, type_ = method_of(recipe.method), f"objective.type={self.name!r}", recipe.method.type
        if self.needs_reference and not method.keeps_base(recipe.method):
            raise ConfigError(
                f"{objective} compares with the model as it was, and the starting values of method.type={type_!r} "
                'change it. Set method.initial="default".'
            )
        if not self.allows_virtual_tokens and isinstance(method, VirtualTokens):
            raise ConfigError(
                f"{objective} does not go with method.type={type_!r}, which puts virtual tokens before each row. "
                'Set method.type="lora".'
            )
        if recipe.train.packing == "on":
            raise ConfigError(
                f"{objective} needs rows apart, and train.packing='on' joins them. Set train.packing='auto'."
            )

    def prepare(
        self,
        section: ObjectiveT,
        data: DataSection,
        encoder: Encoder,
        host: Host,
        progress: EncodingProgress | None = None,
    ) -> PreparedData:
        from . import preference_data

        return preference_data.prepare(getattr(preference_data, self.row_builder), data, encoder, host, progress)

    def trainer(self, section: ObjectiveT, run: TrainingRun) -> Any:
        return import_module(f"{__package__}.trainers.{self.name}").trainer(section, run)

    def heldout_loss(self, section: ObjectiveT, run: TrainingRun, trainer: Any) -> float:
        return float(trainer.evaluate(run.data.heldout)["eval_loss"])
