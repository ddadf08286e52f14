"""Held-out losses row by row: what an interval of the loss and a paired comparison of two runs take.

Knows sums of losses by row, and one file of the artefact. Knows nothing of how they are measured. A row's key is a
digest of its token ids, so that runs under one template and cut-off are paired on the same rows, whatever else differs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camelid_core.statistics import Difference

from camelid_train.distributed import group

if TYPE_CHECKING:
    from camelid_core.tasks import TaskContext

FILE = "heldout-losses.jsonl"
"""Of an artefact: for each held-out row its key, its loss summed over its trained tokens, their number, and that loss
before training. No text. It is never published."""
_BEFORE = "heldout-before.json"

Losses = list[tuple[float, int]]


class HeldOutRows:
    """Measures held-out losses by calling `measure`, which leaves those of the rows in `rows` where it knows them. The
    first time in a run that is not `resumed` is before training."""

    def __init__(self, context: TaskContext, measure: Callable[[], float], rows: Losses, resumed: bool) -> None:
        self._context = context
        self._measure = measure
        self._rows = rows
        self._before = not resumed
        self._by_loss: dict[float, Losses] = {}

    def measure(self) -> float:
        """The held-out loss; the first one, the lowest and the last keep the losses of their rows."""
        self._rows.clear()
        loss = self._measure()
        if self._before and self._rows and group.current_world().is_local_main_process:
            (self._context.directory / _BEFORE).write_text(json.dumps(self._rows), encoding="utf-8")
        self._before = False
        lowest = min([loss, *self._by_loss])
        self._by_loss = {each: rows for each, rows in self._by_loss.items() if each == lowest}
        self._by_loss[loss] = list(self._rows)
        return loss

    def figures(self, loss: float) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Metrics with intervals for the final `loss`, and the rows of the file; nothing where the objective knows no
        rows, or where fewer than two are held out. A run that was resumed after its last evaluation repeats it."""
        if loss not in self._by_loss and group.any_process(bool(self._losses_before())):
            loss = self.measure()
        from camelid_core.statistics.scores import difference_of_sums, estimate_of_sums

        after, before = self._by_loss.get(loss) or [], self._losses_before()
        if len(after) < 2:
            return {}, []
        sums, tokens = [each for each, _ in after], [count for _, count in after]
        metrics = {"eval_loss_estimate": estimate_of_sums(sums, tokens).as_json()}
        if [count for _, count in before] != tokens:
            return metrics, [{"loss": each, "tokens": count} for each, count in after]
        first = [each for each, _ in before]
        metrics["base_eval_loss_estimate"] = estimate_of_sums(first, tokens).as_json()
        metrics["eval_loss_difference"] = difference_of_sums(sums, first, tokens).as_json()
        return metrics, [
            {"loss": each, "tokens": count, "before": one} for (each, count), one in zip(after, first, strict=True)
        ]

    def _losses_before(self) -> Losses:
        for place in (self._context.directory, *self._context.earlier_attempts):
            if (place / _BEFORE).is_file():
                return [(loss, tokens) for loss, tokens in json.loads((place / _BEFORE).read_text(encoding="utf-8"))]
        return []


def write_rows(directory: Path, examples: Sequence[Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the file, if there are rows."""
    if not rows:
        return
    with (directory / FILE).open("w", encoding="utf-8") as file:
        for example, row in zip(examples, rows, strict=True):
            key = hashlib.sha256(json.dumps(list(map(int, example.input_ids))).encode()).hexdigest()[:16]
            file.write(json.dumps({"row": key, **row}) + "\n")


def read_rows(directory: Path) -> dict[str, tuple[float, int]]:
    """Loss and number of tokens of each row by its key; nothing where the run kept none, or the file is damaged."""
    try:
        rows = [json.loads(line) for line in (directory / FILE).read_text(encoding="utf-8").splitlines()]
        return {str(row["row"]): (float(row["loss"]), int(row["tokens"])) for row in rows}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def paired(first: Mapping[str, tuple[float, int]], second: Mapping[str, tuple[float, int]]) -> Difference | None:
    """The loss per token of the first run minus that of the second, on the rows that both have with as many tokens;
    None where those are fewer than two."""
    from camelid_core.statistics.scores import difference_of_sums

    common = [key for key in first if key in second and first[key][1] == second[key][1]]
    if len(common) < 2:
        return None
    ours, theirs = ([rows[key][0] for key in common] for rows in (first, second))
    return difference_of_sums(ours, theirs, [first[key][1] for key in common])
