"""Where launched processes print: the first into the attempt's own log, each other into a file of its own.

Knows the elastic agent's contract for logs, and leaves none to it: each process turns to its own file when it starts.
"""

from __future__ import annotations

import os
from pathlib import Path

from camelid_core.file_permissions import PRIVATE_FILE_MODE
from camelid_core.jobs.run_directories import LOG
from torch.distributed.elastic.multiprocessing.api import LogsDest, LogsSpecs

_STDOUT, _STDERR = 1, 2


class RankLogs(LogsSpecs):
    """Every process begins with the streams of the agent."""

    def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
        nowhere = dict.fromkeys(envs, "")
        return LogsDest(stdouts=nowhere, stderrs=nowhere, error_files=nowhere)

    @property
    def root_log_dir(self) -> str:
        return ""


def rank_log(ranks: Path, number: int) -> Path:
    """What process `number` of this machine prints."""
    return ranks / str(number) / LOG if number else ranks.parent / LOG


def redirect_output(log: Path) -> None:
    """Both streams of this process at the end of one file, in the order things are said."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE_MODE)
    for stream in (_STDOUT, _STDERR):
        os.dup2(descriptor, stream)
    os.close(descriptor)
