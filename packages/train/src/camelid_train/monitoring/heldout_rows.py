"""Held-out losses row by row: what an interval of the loss and a paired comparison of two runs take.

Knows sums of losses by row, and one file of the artefact. Knows nothing of how they are measured. A row's key is a
digest of its token ids, so that runs under one template and cut-off are paired on the same rows, whatever else differs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camelid_core.integrity import write_durably
from camelid_core.statistics import Difference

from camelid_train.distributed import group

if TYPE_CHECKING:
    from camelid_core.tasks import TaskContext

FILE = "heldout-losses.jsonl"
"""Of an artefact: for each held-out row its key, its loss summed over its trained tokens, their number, and that loss
before training. No text. It is never published."""
_MEASURED = "heldout-measured.json"

Losses = list[tuple[float, int]]


class HeldOutRows:
    """Measures held-out losses by calling `measure`, which leaves those of the rows in `rows` where it knows them. What
    a `resumed` run measured is read from its earlier attempts; the first time in any other is before training."""

    def __init__(self, context: TaskContext, measure: Callable[[], float], rows: Losses, resumed: bool) -> None:
        self._file = context.directory / _MEASURED
        self._measure = measure
        self._rows = rows
        self._first = not resumed
        earlier = [place / _MEASURED for place in context.earlier_attempts] if resumed else []
        self._known = next((_read(path) for path in earlier if path.is_file()), _Measured())

    def measure(self) -> float:
        """The held-out loss; the first one, the lowest and the last keep the losses of their rows."""
        self._rows.clear()
        loss = self._measure()
        if self._rows:
            self._known.add(loss, list(self._rows), self._first)
            self._first = False
            if group.current_world().is_local_main_process:
                write_durably(self._file, json.dumps(asdict(self._known)).encode())
        return loss

    def figures(self, loss: float) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Metrics with intervals for the final `loss`, and the rows of the file; nothing where the objective knows no
        rows, or where fewer than two are held out."""
        from camelid_core.statistics.scores import difference_of_sums, estimate_of_sums

        after, before = self._known.rows_of(loss), self._known.before
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


@dataclass
class _Measured:
    """The rows' losses before training, at the lowest loss and at the last."""

    before: Losses = field(default_factory=list)
    lowest: tuple[float, Losses] | None = None
    last: tuple[float, Losses] | None = None

    def add(self, loss: float, rows: Losses, first: bool) -> None:
        self.before = rows if first else self.before
        self.last = (loss, rows)
        if self.lowest is None or loss < self.lowest[0]:
            self.lowest = self.last

    def rows_of(self, loss: float) -> Losses:
        return next((rows for each in (self.last, self.lowest) if each and each[0] == loss for rows in (each[1],)), [])


def _read(path: Path) -> _Measured:
    """What an earlier attempt wrote; nothing where a kill left it damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return _Measured(**{name: _pairs(found[name], name == "before") for name in ("before", "lowest", "last")})
    except (OSError, ValueError, KeyError, TypeError):
        return _Measured()


def _pairs(value: Any, plain: bool) -> Any:
    if value is None or plain:
        return [tuple(each) for each in value or ()] if plain else None
    return value[0], [tuple(each) for each in value[1]]


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
