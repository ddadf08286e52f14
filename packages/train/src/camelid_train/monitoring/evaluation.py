"""The loss on held-out rows while a run learns, and what follows from it: the best so far, and stopping early.

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
    """Measures every `steps` steps; `on_evaluated` is called with the step after each. Emits `eval`: step, loss, best.

    `patience` is how many measurements in a row may bring no lower loss before the run stops; `save_best` asks for a
    checkpoint of each that does.
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
        """Whether to measure after `step`; after the last one it is measured anyway. A run that was asked to leave
        while it measured does so when it is taken up again."""
        return bool(self.steps) and 0 < step < last and step % (self.steps or 1) == 0 and self.totals.measured != step

    def evaluate_before_training(self) -> None:
        """The loss before the first step."""
        loss = self.totals.base_eval_loss = self.heldout_loss()
        self.context.emit("eval", step=0, loss=loss)
        self.on_evaluated(0)

    def evaluate(self, step: int) -> bool:
        """The loss after `step`; True if it is the lowest so far."""
        loss = self.heldout_loss()
        best = self.totals.note_measured(step, loss)
        self.context.emit("eval", step=step, loss=loss, best=best)
        self.on_evaluated(step)
        return best

    def evaluate_or_defer(self, step: int) -> bool:
        """Measure in the middle of a run; True if a checkpoint is wanted, `totals.stopped` if it is time to stop."""
        try:
            return self.evaluate_and_decide(step)
        except Interrupted:
            return False  # what is saved now says that this measurement is still to come

    def evaluate_and_decide(self, step: int) -> bool:
        """The same, where whoever is asked to leave meanwhile has nothing to save."""
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
    """Raise ConfigError if something is asked for that needs measurements, and none are."""
    wanted = _requiring_field(recipe)
    if wanted and recipe.eval.steps is None:
        raise ConfigError(f"{wanted} needs measurements to choose from: say how often, for example eval.steps=50.")
    if wanted and not recipe.data.eval_rows:
        raise ConfigError(f"{wanted} needs held-out rows: set data.eval_rows, for example data.eval_rows=64.")


def check_data(recipe: Recipe, data: PreparedData) -> None:
    """Raise DataError if something is asked for that needs held-out rows, and the data is too small for any."""
    wanted = _requiring_field(recipe)
    if wanted and not data.heldout:
        raise DataError(f"{wanted} needs held-out rows, and of {data.account.rows:,} rows none can be spared.")


def _requiring_field(recipe: Recipe) -> str:
    return "train.best" if recipe.train.best else "eval.patience" if recipe.eval.patience is not None else ""
