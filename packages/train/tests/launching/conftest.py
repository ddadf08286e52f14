"""Several runs in two processes, and their recorded attempts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from camelid_core.jobs.run_directories import OUTPUT, attempt_directory
from camelid_train.config import Recipe
from camelid_train.testing import AttemptRecord

SCRIPT = Path(__file__).with_name("two_processes.py")
RENDEZVOUS = ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "--local-addr=localhost"]


class RecordedAttempt(AttemptRecord):
    """An attempt that was made elsewhere."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.output = directory, directory / OUTPUT


@pytest.fixture
def in_two_processes(home: Path, tmp_path: Path) -> Callable[..., list[RecordedAttempt]]:
    """Make runs in two processes, each `(recipe, job, epoch, step to stop at, rows there is room for)`, 0 for none."""

    def make(*runs: tuple[Recipe, int, int, int, int]) -> list[RecordedAttempt]:
        names = ("recipe", "job", "epoch", "stop_at", "room")
        values = [dict(zip(names, (run[0].model_dump(mode="json"), *run[1:]), strict=True)) for run in runs]
        file = tmp_path / "runs.json"
        file.write_text(json.dumps(values))
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            *RENDEZVOUS,
            "--nproc-per-node=2",
            str(SCRIPT),
            str(file),
        ]
        environment = dict(os.environ, OMP_NUM_THREADS="1")
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=840, check=False)
        assert done.returncode == 0, done.stderr.partition("Traceback")[2][:6000]
        return [RecordedAttempt(attempt_directory(home, job, epoch)) for _, job, epoch, *_ in runs]

    return make
