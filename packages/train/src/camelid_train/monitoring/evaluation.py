"""Held-out loss (validation loss) during a run, and what follows from it: the best checkpoint and early stopping.

Knows steps and losses. Knows nothing of how a loss is measured, of checkpoints or of the loop.
"""

from __future__ import annotations

from collections.abc import Callable

from camelid_core.errors import ConfigError, DataError
from camelid_core.tasks import Interrupted, TaskContext

from camelid_train.config import Recipe
from camelid_train.data import PreparedData
from camelid_train.saving.run_totals import RunTotals


class PeriodicEvaluation:
    """Evaluates every `steps` optimizer steps, then calls `on_evaluated` with the step. Emits `eval`: step, loss, best.

    `patience` (early stopping) is the number of evaluations in a row without a lower loss after which the run stops;
    `save_best` requests a checkpoint at each lowest loss.
    """

    def __init__(
        self,
        context: TaskContext,
        totals: RunTotals,
        heldout_loss: Callable[[], float],
        steps: int | None = None,
        patience: int | None = None,
        save_best: bool = False,
        on_evaluated: Callable[[int], object] = lambda step: None,
    ) -> None:
        self.context = context
        self.totals = totals
        self.heldout_loss = heldout_loss
        self.steps = steps
        self.patience = patience
        self.save_best = save_best
        self.on_evaluated = on_evaluated

    def due(self, step: int, last: int) -> bool:
        """Whether to evaluate after `step`; after the last one it is evaluated anyway. A run that was interrupted
        during an evaluation repeats it when it resumes."""
        return bool(self.steps) and 0 < step < last and step % (self.steps or 1) == 0 and self.totals.measured != step

    def evaluate_before_training(self) -> None:
        """The held-out loss before the first step."""
        loss = self.totals.base_eval_loss = self.heldout_loss()
        self.context.emit("eval", step=0, loss=loss)
        self.on_evaluated(0)

    def evaluate(self, step: int) -> bool:
        """The held-out loss after `step`; True if it is the lowest so far."""
        loss = self.heldout_loss()
        best = self.totals.note_measured(step, loss)
        self.context.emit("eval", step=step, loss=loss, best=best)
        self.on_evaluated(step)
        return best

    def evaluate_or_defer(self, step: int) -> bool:
        """Evaluate during training. True: a checkpoint is to be written; `totals.stopped` is set to end the run."""
        try:
            return self.evaluate_and_decide(step)
        except Interrupted:
            return False  # the checkpoint written now records that this evaluation is still due

    def evaluate_and_decide(self, step: int) -> bool:
        """The same without a checkpoint to write: raises Interrupted if the run is told to save and end meanwhile."""
        best = self.evaluate(step)
        if self.patience is not None and self.totals.worse >= self.patience:
            totals = self.totals
            totals.stopped = "early"
            text = (
                f"The held-out loss has not fallen for {totals.worse} measurements: it was lowest at step "
                f"{totals.best_step} ({totals.best_loss:.4g}). The run stops at step {step}, as eval.patience says."
            )
            self.context.emit("stop", reason="early", text=text)
        return best and self.save_best


def check_recipe(recipe: Recipe) -> None:
    """Raise ConfigError if a field needs evaluations during training, and the recipe has none."""
    field = _requiring_field(recipe)
    if field and recipe.eval.steps is None:
        raise ConfigError(f"{field} needs measurements to choose from: say how often, for example eval.steps=50.")
    if field and not recipe.data.eval_rows:
        raise ConfigError(f"{field} needs held-out rows: set data.eval_rows, for example data.eval_rows=64.")


def check_data(recipe: Recipe, data: PreparedData) -> None:
    """Raise DataError if a field needs held-out rows, and the data is too small for any."""
    field = _requiring_field(recipe)
    if field and not data.heldout:
        raise DataError(f"{field} needs held-out rows, and of {data.account.rows:,} rows none can be spared.")


def _requiring_field(recipe: Recipe) -> str:
    return "train.best" if recipe.train.best else "eval.patience" if recipe.eval.patience is not None else ""
