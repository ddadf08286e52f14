"""Log files of launched processes: the attempt's own log for rank 0 of the machine, a file of its own for each other.

Knows the elastic agent's contract for logs, and leaves none to it: each process redirects its output when it starts.
"""

from __future__ import annotations

import os
from pathlib import Path

from camelid_core.file_permissions import PRIVATE_FILE_MODE
from camelid_core.jobs.run_directories import LOG
from torch.distributed.elastic.multiprocessing.api import LogsDest, LogsSpecs

_STDOUT, _STDERR = 1, 2


class RankLogs(LogsSpecs):
    """Every process starts with the output streams of the agent."""

    def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
        nowhere = dict.fromkeys(envs, "")
        return LogsDest(stdouts=nowhere, stderrs=nowhere, error_files=nowhere)

    @property
    def root_log_dir(self) -> str:
        return ""


def rank_log(ranks: Path, number: int) -> Path:
    """The log file of process `number` of this machine."""
    return ranks / str(number) / LOG if number else ranks.parent / LOG


def redirect_output(log: Path) -> None:
    """Append stdout and stderr of this process to one file, in order."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE_MODE)
    for stream in (_STDOUT, _STDERR):
        os.dup2(descriptor, stream)
    os.close(descriptor)
