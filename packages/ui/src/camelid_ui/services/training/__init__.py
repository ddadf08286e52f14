"""Training runs: estimate, start, progress, comparison and deletion.

Knows recipes and jobs. Trains nothing itself.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from camelid_core.config import validate
from camelid_core.errors import CamelidError, JobError
from camelid_core.jobs import Job
from camelid_core.jobs.deletion import delete
from camelid_core.plugins import Host
from camelid_train.config import Recipe
from camelid_train.run_preparation import checks

from camelid_ui.field_values import InvalidFields, overrides
from camelid_ui.services.data import DataServices
from camelid_ui.services.jobs import JobService
from camelid_ui.services.models import ModelService

from . import selection
from .estimate import Estimate, estimate
from .run_comparison import RunComparison, differences, loss_differences
from .runs import LossSummary, RunDetails, RunReports, RunSummary, loss_summary

TASK = "train"
MAX_LISTED_RUNS = 200
_ALWAYS_NAMED = ("model.name", "data.sources")

__all__ = ["TASK", "Estimate", "RunComparison", "RunDetails", "RunSummary", "TrainingService"]


class TrainingService:
    """Recipes and runs."""

    def __init__(
        self, host: Host, models: ModelService, jobs: JobService, resident: Callable[[], Sequence[str]] = tuple
    ) -> None:
        """`resident` names the models that are loaded, or being loaded, for the chat."""
        self.host = host
        self.models = models
        self.jobs = jobs
        self.resident = resident
        self.reports = RunReports(jobs.home)

    # -- before a run

    def start(self, recipe: Recipe, name: str = "", key: str | None = None) -> Job:
        """Queue the run.

        Raises:
            CamelidError: the model or a dataset is not here, or the name cannot be used.
        """
        self.check(recipe)
        return self.jobs.submit(TASK, recipe, name, key)

    def check(self, recipe: Recipe) -> None:
        """Check for everything that would make the run fail at its start.

        Raises:
            Invalid: naming the field.
        """
        for field, each in checks(recipe, self.host, at_hand=True):
            _at(field, each)

    def estimate(self, recipe: Recipe, data: DataServices) -> Estimate:
        """Raises CamelidError: a model or dataset that is not here."""
        self.check(recipe)
        return estimate(recipe, data, self.models, self._speed(recipe))

    def command(self, recipe: Recipe, name: str = "") -> str:
        """What Start does, as a command: model and data are always named, for it takes no run without them."""
        words = ["camelid", "train", *overrides(recipe, always=_ALWAYS_NAMED)]
        return shlex.join([*words, "--name", name] if name else words)

    def model_choice(self, recipe: Recipe) -> selection.ModelChoice:
        return selection.model_choice(self.models, recipe.model.name)

    def data_choices(self, recipe: Recipe, data: DataServices) -> list[selection.DataChoice]:
        return selection.data_choices(data, recipe)

    def section_choices(self, recipe: Recipe) -> list[selection.SectionChoice]:
        return selection.section_choices(self.host, recipe)

    # -- during and after a run

    def all(self, search: str = "", state: str = "", limit: int = MAX_LISTED_RUNS) -> list[RunSummary]:
        """The newest first; only those in this state, with these search words."""
        found = [RunSummary(view, loss_summary(self.jobs.home, view.job.id)) for view in self.jobs.all(TASK, limit)]
        return [run for run in found if run.matches(search, state)]

    def show(self, job_id: int) -> RunDetails:
        """Raises JobError: no such run."""
        view, report = self.jobs.show(job_id), self.reports.of(job_id)
        return RunDetails(
            view, LossSummary(report.loss, report.best_heldout.value if report.best_heldout else None), report
        )

    def recipe_of(self, job_id: int) -> Recipe:
        """A run's recipe, to start another from.

        Raises:
            ConfigError: it does not fit what is installed now.
        """
        return validate(Recipe, self.jobs.store.get(job_id).config, f"run {job_id}")

    def compare(self, job_ids: Sequence[int]) -> RunComparison:
        """These runs side by side, without those that were deleted."""
        runs, missing = [], []
        for job_id in job_ids:
            try:
                runs.append(self.show(job_id))
            except CamelidError:
                missing.append(job_id)
        return RunComparison(
            tuple(runs), differences([run.job.config for run in runs]), tuple(missing), loss_differences(runs)
        )

    def delete(self, job_id: int, result: bool = False) -> Job:
        """Delete an ended run with its checkpoints; with `result` also what it published.

        Raises:
            JobError: it is running, or something else uses its result.
        """
        published = self.jobs.store.get(job_id).published or ""
        if result and published and {published, Path(published).name} & {*self.resident()}:
            raise JobError(
                f"{Path(published).name!r} is loaded in the chat; load another model there first. Nothing was deleted."
            )
        job = delete(self.jobs.store, job_id, result)
        self.reports.forget(job_id)
        return job

    def bundle(self, job_id: int, directory: Path) -> Path:
        """All that is needed to reproduce the run, as one file in `directory`.

        Raises:
            JobError: there is no such run.
        """
        from camelid_train.provenance.reproduce import bundle

        return bundle(self.jobs.store, job_id, directory)

    def _speed(self, recipe: Recipe) -> float:
        """Tokens per second of the newest run here with this model, and with this tuning method if there is one."""
        found: dict[bool, float] = {}
        for view in self.jobs.all(TASK, 50):
            run, speed = view.job.config, view.job.summary.get("tokens_per_second")
            if speed and run.get("model", {}).get("name") == recipe.model.name:
                found.setdefault(run.get("method", {}).get("type") == recipe.method.type, float(speed))
        return found.get(True) or found.get(False) or 0.0


def _at(path: str, check: Callable[[], object]) -> None:
    """Run a check whose error belongs to the field at `path`; errors about several fields say so themselves."""
    try:
        check()
    except CamelidError as error:
        if not path:
            raise
        raise InvalidFields(str(error), {path: str(error)}) from None
