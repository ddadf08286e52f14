"""One process (rank) of a run, as the launcher starts it.

    python -m camelid_train.launching.rank RANKS

Knows the launcher's files, and writes its result there. It exits when the process that launched it is gone.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from camelid_core.jobs.attempt_result import AttemptResult, Outcome
from camelid_core.jobs.groups import PEER_LOST
from camelid_core.jobs.watchdog import cap_log
from camelid_core.tasks import Interrupted

from camelid_train.distributed import group
from camelid_train.distributed.context import LaunchedContext, SharedContext
from camelid_train.distributed.world import world_from_environment

from .failures import is_lost_peer
from .rank_logs import rank_log, redirect_output

_LOG_BYTES = 50_000_000
_STDOUT = 1


def main(ranks: Path) -> int:
    world = world_from_environment()
    if not world.is_local_main_process:
        redirect_output(rank_log(ranks, world.local_rank))
    threading.Thread(
        target=_watch_parent, args=(os.getppid(), not world.is_local_main_process), name="watch", daemon=True
    ).start()
    directory = ranks / str(world.local_rank)
    code = None
    try:
        result, code = _run_attempt(ranks), 0
    except Interrupted:
        result = AttemptResult(Outcome.SAVED)
    except BaseException as error:  # SystemExit too: the launcher must learn of it
        traceback.print_exc()
        result = AttemptResult.from_exception(error)
        if is_lost_peer(error):
            result = replace(result, kind=PEER_LOST)
    result.write(directory)
    return result.exit_code if code is None else code


def _run_attempt(ranks: Path) -> AttemptResult:
    from camelid_train.config import Recipe
    from camelid_train.run import train

    launched = LaunchedContext(ranks)
    recipe = Recipe.model_validate(launched.recipe)
    context = SharedContext(group.join(), launched)
    context.listen()
    try:
        summary = train(recipe, context)
    except Interrupted:
        if not context.agreed:
            raise  # the others do not know: the exit code ends them
        return AttemptResult(Outcome.SAVED)  # with exit code 0, for others may still be at saving
    group.leave()
    return AttemptResult(Outcome.SUCCEEDED, summary=dict(summary))


def _watch_parent(parent: int, own_log: bool) -> None:
    while os.getppid() == parent:
        if own_log:
            cap_log(_STDOUT, _LOG_BYTES)
        time.sleep(1)
    os._exit(1)


def _leave(code: int) -> None:
    """Exit at once. All that counts is on the disk, and torch takes 1.6 s of a core to take itself apart, for which
    whoever stops a run would wait."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # a log on a full disk
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    _leave(main(Path(sys.argv[1])))
