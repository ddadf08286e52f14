"""The builders of suites' tasks by name: what makes an evaluation of a task's files and texts. Knows names."""

from __future__ import annotations

from collections.abc import Callable

from camelid_core.errors import UnknownName

from camelid_serve.evaluations.evaluation import Evaluation

from .belle import belle
from .exams import mmcu, mmlu
from .passages import tydiqa
from .suite import SuiteTask
from .worked_examples import bbh, gsm

BUILDERS: dict[str, Callable[[SuiteTask], Evaluation]] = {
    "mmlu": mmlu, "gsm": gsm, "bbh": bbh, "tydiqa": tydiqa, "belle": belle, "mmcu": mmcu,
}  # fmt: skip
VERDICTS = "verdicts"
"""The task's scores were found by another program; no model is asked."""


def evaluation_of(task: SuiteTask) -> Evaluation:
    """Raises:
    UnknownName: no such builder.
    """
    if task.builder not in BUILDERS:
        raise UnknownName("builder", task.builder, [*BUILDERS, VERDICTS])
    return BUILDERS[task.builder](task)
