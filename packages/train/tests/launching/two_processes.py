"""Several runs, one after the other, in the processes that torchrun started: `torchrun … two_processes.py RUNS`.

Starting processes takes longer than these runs, so tests share them. A run is `{recipe, job, epoch, stop_at, room}`:
with `stop_at`, the last process is sent SIGTERM once that many steps are done; with `room`, it has memory for no more
than so many rows at once. What a run fails with goes into its events.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from camelid_core.errors import CamelidError
from camelid_core.jobs.attempt import AttemptContext
from camelid_core.jobs.run_directories import attempt_directory
from camelid_core.tasks import Interrupted
from camelid_train.config import Recipe
from camelid_train.distributed import group, sharded_state
from camelid_train.distributed.context import SharedContext
from camelid_train.loop.trainer import SftTrainer
from camelid_train.run import train


class Stopping(SharedContext):
    """Sends the last process SIGTERM after some steps, and tells whether the model was in shards when it ended."""

    stop_at = 0

    def emit(self, kind: str, **values: Any) -> None:
        super().emit(kind, **values)
        last = self._world.rank == self._world.size - 1
        if (
            self.stop_at
            and last
            and kind == "progress"
            and values.get("done") == self.stop_at
            and "stage" not in values
        ):
            os.kill(os.getpid(), signal.SIGTERM)


unshard = sharded_state.unshard


def report_and_unshard(context: SharedContext, model: Any) -> None:
    context.emit("shards", found=sharded_state.is_sharded(model))
    unshard(model)


@contextmanager
def memory_for(rows: int) -> Iterator[None]:
    """Of more, the backward pass fails on its way, when others already wait."""
    compute = SftTrainer.compute_loss

    def limited(self: Any, model: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
        loss = compute(self, model, inputs, *rest, **options)
        if model.training and len(inputs.get("row_lengths") or inputs["labels"]) > rows:
            loss.register_hook(fail)
        return loss

    SftTrainer.compute_loss = limited
    try:
        yield
    finally:
        SftTrainer.compute_loss = compute


def fail(_: Any) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB.")


def main(runs: Path) -> None:
    home = Path(os.environ["CAMELID_HOME"])
    world = group.join()
    for run in json.loads(runs.read_text()):
        directory = attempt_directory(home, run["job"], run["epoch"])
        inner = None
        if world.is_local_main_process:
            directory.mkdir(parents=True)
            inner = AttemptContext(directory)
        context = Stopping(world, inner)
        context.stop_at = run.get("stop_at") or 0
        context.listen()
        AcceleratorState._reset_state()  # the strategy is settled once per process, and here are several runs
        os.environ.pop("ACCELERATE_USE_FSDP", None)
        sharded_state.unshard = partial(report_and_unshard, context)
        last = world.rank == world.size - 1
        with memory_for(run["room"] if run["room"] and last else sys.maxsize):
            try:
                train(Recipe.model_validate(run["recipe"]), context)
            except Interrupted:
                context.emit("interrupted")
            except CamelidError as error:
                context.emit("failed", text=str(error))
    group.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
