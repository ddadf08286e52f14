"""trl's DPOTrainer on preference pairs."""

from __future__ import annotations

from typing import Any

from camelid_train.objectives import TrainingRun
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from camelid_trl.dpo import DpoObjective
from camelid_trl.preference_rows import PreferencePair
from camelid_trl.trainer_mixin import (
    MeasurableTrainerMixin,
    placeholder_dataset,
    with_reference_model,
    with_transformers_defaults,
)


class Trainer(MeasurableTrainerMixin, DPOTrainer):
    """Chosen and rejected answers in one batch."""

    sequences = 2


def trainer(section: DpoObjective, run: TrainingRun) -> Trainer:
    arguments = run.arguments(
        with_transformers_defaults(DPOConfig),
        beta=section.beta,
        loss_type=[section.loss],
        label_smoothing=section.label_smoothing,
        max_length=None,  # the rows are cut already
    )
    pad = DataCollatorForPreference(run.pad_id)
    made: Trainer = with_reference_model(Trainer, run, arguments, placeholder_dataset(prompt_ids=[0]))
    made.set_up(run, lambda pairs: pad([_columns(pair) for pair in pairs]))
    return made


def _columns(pair: PreferencePair) -> dict[str, Any]:
    return {"prompt_ids": pair.prompt_ids, "chosen_ids": pair.answer_ids, "rejected_ids": pair.rejected_ids}
