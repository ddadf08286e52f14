"""A prediction in shards: ranges of rows, each answered in a piece on some machine of a cluster.

Knows ranges and where their answers are recorded. Knows nothing of how rows are answered (`shard_piece`). Each piece
appends its answers to a work log of its own; of several for one row one counts, so a piece that is run again on another
machine answers only what is missing, and the result is that of one process.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from camelid_core.jobs.pieces import MAX_TRIES, Piece, piece_directory, run_in_pieces, with_pieces
from camelid_core.tasks import TaskContext

from camelid_serve.config import PredictConfig

from .batch_answers import TaskProgress
from .work_log import RecordedResults, Result, work_file_name

_TARGET = "camelid_serve.predict.shard_piece:run"


def answer_in_shards(
    config: PredictConfig, rows: int, identities: Mapping[str, str], context: TaskContext, progress: TaskProgress
) -> tuple[dict[str, RecordedResults], dict[str, str]]:
    """Answer rows 1 to `rows` with every model: the answers, and errors by model. `identities` are those of the work
    logs.

    Raises:
        UsageError: the executor divides no jobs.
        Interrupted: asked to save.
        CamelidError: a piece failed, or every model.
    """
    ranges = row_ranges(rows, config.launch.shards)
    names = [f"rows-{first}-{last}" for first, last in ranges]
    tries = range(1, MAX_TRIES + 1)
    places = [piece_directory(context.directory, name, number) for name in names for number in tries]
    places += with_pieces(context.earlier_attempts)
    new = False

    def on_result(row: int, result: Result) -> None:
        if new:
            progress.row(_tokens(result))

    done = {
        label: RecordedResults([place / work_file_name(number) for place in places], identity, on_result)
        for number, (label, identity) in enumerate(identities.items())
    }
    new = True
    for label, each in done.items():
        progress.skip(len(each))
        if each:
            context.emit("log", text=f"{label}: {len(each):,} rows were answered before.")
    order = {"config": config.model_dump(mode="json"), "identities": dict(identities), "rows": rows}
    pieces = [
        Piece(name, _TARGET, {"first": first, "last": last, "earlier": [str(place) for place in places], **order})
        for name, (first, last) in zip(names, ranges, strict=True)
        if any(row not in each for each in done.values() for row in range(first, last + 1))
    ]
    context.emit("log", text=f"{rows:,} rows in {len(ranges)} shards, {len(pieces)} of them with rows to answer.")

    def tick() -> None:
        for each in done.values():
            each.refresh()

    summaries = run_in_pieces(config.launch.executor, pieces, context, tick) if pieces else {}
    progress.emit()
    return done, {label: text for each in summaries.values() for label, text in each["failures"].items()}


def row_ranges(rows: int, shards: int) -> list[tuple[int, int]]:
    """First and last number of each shard's rows: every row once, and none of them empty."""
    count = min(shards, rows)
    bounds = [rows * number // count for number in range(count + 1)]
    return [(start + 1, end) for start, end in pairwise(bounds)]


def _tokens(result: Result) -> int:
    tokens = result.get("tokens", 0)
    return tokens if isinstance(tokens, int) else 0
