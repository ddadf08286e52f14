"""trl's ORPOTrainer on preference pairs; experimental in trl."""

from __future__ import annotations

import warnings
from typing import Any

import datasets
from camelid_core.tokenization.encoder import IGNORE
from camelid_train.objectives import TrainingRun
from trl.import_utils import TRLExperimentalWarning

from camelid_trl.orpo import OrpoObjective
from camelid_trl.preference_rows import PreferencePair
from camelid_trl.trainer_mixin import MeasurableTrainerMixin, make_keeping_dtypes, with_transformers_defaults

with warnings.catch_warnings():
    warnings.simplefilter("ignore", TRLExperimentalWarning)
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer
    from trl.experimental.utils import DPODataCollatorWithPadding


class Trainer(MeasurableTrainerMixin, ORPOTrainer):
    """Chosen and rejected answers side by side."""

    sequences = 2

    def count(self, inputs: dict[str, Any]) -> tuple[int, int]:
        sides = ("chosen", "rejected")
        total = sum(int(inputs[f"{side}_attention_mask"].sum()) for side in sides)
        return total, sum(int((inputs[f"{side}_labels"] != IGNORE).sum()) for side in sides)


def trainer(section: OrpoObjective, run: TrainingRun) -> Trainer:
    arguments = run.arguments(with_transformers_defaults(ORPOConfig), beta=section.beta)
    empty = datasets.Dataset.from_dict({"prompt": []})  # trl would tokenise it
    pad = DPODataCollatorWithPadding(pad_token_id=run.pad_id)
    options = {"args": arguments, "train_dataset": empty, "processing_class": run.tokenizer, "data_collator": pad}
    made: Trainer = make_keeping_dtypes(lambda: Trainer(run.model, **options), run.model)
    made.use_dpo_data_collator = True  # this collator gives the same columns
    made.set_up(run, lambda pairs: pad([_columns(pair) for pair in pairs]))
    return made


def _columns(pair: PreferencePair) -> dict[str, Any]:
    columns = {}
    for side, answer in (("chosen", pair.answer_ids), ("rejected", pair.rejected_ids)):
        ids = pair.prompt_ids + answer
        columns[f"{side}_input_ids"] = ids
        columns[f"{side}_attention_mask"] = [1] * len(ids)
        columns[f"{side}_labels"] = [IGNORE] * pair.start + answer
    return columns
