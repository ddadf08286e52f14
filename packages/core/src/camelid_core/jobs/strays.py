"""Ending processes of attempts that do not hold their job any more, when nothing else is left that would.

A worker ends what its own attempt started, and the next attempt what the one before left. This is for the rest: the
worker died, and the job was cancelled, paused or given up before there was a next attempt; or it died in the moment
before it could record which process it had started. Knows the mark that all processes of an attempt carry in their
environment, and who holds which job. Knows nothing of what a process does.
"""

from __future__ import annotations

import os
from contextlib import suppress

import psutil

from camelid_core.errors import JobError

from .database import TableUnavailable
from .job import ACTIVE
from .process_identity import ATTEMPT_VARIABLE, attempt_of_mark
from .store import JobStore


def kill_strays(store: JobStore) -> int:
    """Kill every process of an attempt of this home directory that holds its job no more; how many there were.

    An attempt that lost its job never gets it back, so none that is needed can be hit.

    Raises:
        TableUnavailable: who holds which job cannot be read.
    """
    killed = 0
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid in (0, 1, os.getpid()):
                continue
            environment = process.environ()
            attempt = attempt_of_mark(environment.get(ATTEMPT_VARIABLE, ""))
            ours = environment.get("CAMELID_HOME") == str(store.path.parent)
            if attempt is not None and ours and not _holds_job(store, *attempt):
                process.kill()  # psutil checks the start time again before it signals
                killed += 1
    return killed


def _holds_job(store: JobStore, job_id: int, epoch: int) -> bool:
    try:
        job = store.get(job_id)
    except TableUnavailable:
        raise
    except JobError:  # it was deleted
        return False
    return job.epoch == epoch and job.state in ACTIVE
