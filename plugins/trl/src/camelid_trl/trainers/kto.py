"""trl's KTOTrainer on labelled answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from camelid_train.objectives import TrainingRun
from trl import KTOConfig, KTOTrainer
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

from camelid_trl.kto import KtoObjective
from camelid_trl.preference_rows import LabelledAnswer
from camelid_trl.trainer_mixin import (
    MeasurableTrainerMixin,
    placeholder_dataset,
    with_reference_model,
    with_transformers_defaults,
)


class Trainer(MeasurableTrainerMixin, KTOTrainer):
    """Good and bad answers in one batch. Bad ones are often shorter: batches by length would have one label."""

    group_by_length = False
    min_rows = 2


def trainer(section: KtoObjective, run: TrainingRun) -> Trainer:
    arguments = run.arguments(
        with_transformers_defaults(KTOConfig),
        beta=section.beta,
        desirable_weight=section.good_weight,
        undesirable_weight=section.bad_weight,
        max_length=None,  # the rows are cut already
    )
    pad = DataCollatorForUnpairedPreference(run.pad_id)
    made: Trainer = with_reference_model(Trainer, run, arguments, placeholder_dataset(prompt_ids=[0]))
    made.set_up(run, lambda rows: pad(_columns(rows)))
    return made


def _columns(rows: Sequence[LabelledAnswer]) -> list[dict[str, Any]]:
    """Each prompt also comes with the answer of another row: the KL to the reference model is estimated on those."""
    others = [rows[-1], *rows[:-1]]
    return [
        {
            "prompt_ids": row.prompt_ids,
            "completion_ids": row.answer_ids,
            "KL_completion_ids": other.answer_ids,
            "label": row.good,
        }
        for row, other in zip(rows, others, strict=True)
    ]
