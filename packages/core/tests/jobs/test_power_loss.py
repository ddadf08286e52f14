"""The power is cut after every single system call, and the disk forgets what was not synced: no promise is broken."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from camelid_core.artefacts import verify_directory
from camelid_core.errors import ArtefactError
from camelid_core.jobs.attempt_result import AttemptResult
from camelid_core.jobs.job import JobState
from camelid_core.jobs.run_directories import OUTPUT, attempt_directory
from camelid_core.jobs.store import JobStore

from .lossy_disk import KEPT, STRACE, LossyDisk, calls

HERE = Path(__file__).parent
MEMORY = Path("/dev/shm")
STDOUT = 1


def can_trace() -> bool:
    return (
        bool(shutil.which("strace")) and subprocess.run(["strace", "-qq", "true"], capture_output=True).returncode == 0
    )


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_trace(), reason="needs strace, and the right to trace: apt install strace"),
]


@pytest.fixture(scope="module")
def trace(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("traced")
    command = [*STRACE, "-o", folder / "trace", sys.executable, HERE / "power_scenario.py", folder / "disk" / "home"]
    (folder / "disk").mkdir()
    subprocess.run(list(map(str, command)), check=True, timeout=600, stdout=subprocess.DEVNULL)
    return folder / "disk", folder / "trace"


@pytest.mark.parametrize("kept", KEPT)
def test_no_promise_is_broken_whenever_the_power_is_cut(trace, kept):
    top, path = trace
    disk, promises, seen = LossyDisk(top), [], Counter()
    for call in calls(path):
        if call.name == "write" and call.arguments[0][0] == STDOUT:
            promises.append(call.arguments[1].decode().split())
        elif not disk.apply(call):
            continue
        with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as found:
            disk.cut_power(Path(found), kept)
            seen.update(judge(Path(found) / "home", promises))
    assert seen["moments"] > 100, seen
    assert seen["promises kept"] > 100
    assert seen["published"] > 2
    assert kept == "everything" or seen["damage noticed"] > 0, "nothing was ever damaged: this proves nothing"


def judge(home: Path, promises: list[list[str]]) -> Counter[str]:
    seen = Counter(moments=1)
    store = JobStore(home / "jobs.sqlite3")  # it is whole, or it was never promised to be there
    jobs = {job.id: job for job in store.list()}
    for promise, number in promises:
        job = jobs.get(int(number))
        assert job is not None, f"job {number} was accepted and is gone"
        assert promise != "published" or job.state == JobState.SUCCEEDED, f"job {number} was published; now {job.state}"
        seen["promises kept"] += 1
    for job in jobs.values():
        if job.state == JobState.SUCCEEDED:
            verify_directory(moved(Path(job.published), home))
            seen["published"] += 1
        directory = attempt_directory(home, job.id, 1)
        result = AttemptResult.read(directory)
        if result is not None and (directory / OUTPUT).exists():
            seen["damage noticed"] += damaged(directory / OUTPUT)
        assert result is None or (directory / OUTPUT).exists() or job.state == JobState.SUCCEEDED or placed(home), (
            "its result would be taken for one without output"
        )
    return seen


def moved(path: Path, home: Path) -> Path:
    """Where something is of which the table says where it was."""
    return home / path.relative_to(path.parents[1])


def placed(home: Path) -> bool:
    return (home / "artefacts" / "mine").exists()


def damaged(output: Path) -> bool:
    try:
        verify_directory(output)
    except ArtefactError:
        return True
    return False
