"""Supervised fine-tuning (SFT): cross-entropy on the assistant's tokens, and on all tokens of texts by themselves
(continued pre-training)."""

from __future__ import annotations

from typing import Any

from camelid_train.sections import SftObjective

from .learning_objective import LearningObjective, TrainingRun


class Sft(LearningObjective[SftObjective]):
    name = "sft"
    help = (
        "Supervised fine-tuning (SFT): cross-entropy on the assistant's tokens; on all tokens of texts by themselves "
        "(continued pre-training)."
    )
    config = SftObjective

    def trainer(self, section: SftObjective, run: TrainingRun) -> Any:
        from camelid_train.loop.acceleration import should_pack
        from camelid_train.loop.trainer import SftTrainer

        trainer = SftTrainer(run.model, run.arguments(), run.data.train, run.pad_id, run.method)
        trainer.packing = should_pack(run.recipe.train.packing, run.model, run.adapter.refusals.get("packing", ""))
        return trainer

    def heldout_loss(self, section: SftObjective, run: TrainingRun, trainer: Any) -> float:
        from camelid_train.loop.loss import mean_of, row_losses
        from camelid_train.loop.micro_batches import halved_on_out_of_memory

        measured = halved_on_out_of_memory(
            lambda rows: row_losses(run.model, run.data.heldout, run.pad_id, rows, run.raise_if_interrupted),
            run.recipe.eval.batch_size,
        )
        run.row_losses[:] = [(each.loss, each.tokens) for each in measured]
        return mean_of(measured)


SFT = Sft()
