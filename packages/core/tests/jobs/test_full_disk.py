"""The disk becomes full while a job is submitted, writes its log or its result, or is published: nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NAMESPACE = ["unshare", "-Urm"]
SMALL_DISK = 'mount -t tmpfs -o size=3m small "$1" && shift && exec "$@"'


def can_mount() -> bool:
    try:
        return subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_mount(), reason="needs a namespace of its own, in which users may mount a small disk"),
]


@pytest.mark.parametrize(
    ("point", "said", "while_full", "attempts"),
    [
        ("submit", "There is no space left for", "queued", 1),
        ("log", "The disk is full. Free some space first.", "paused disk_full", 2),
        ("result", "The disk is full. Free some space first.", "paused disk_full", 2),
        ("publish", "The disk is full. Free some space first.", "paused disk_full", 1),
    ],
)
def test_a_full_disk_pauses_a_job_and_room_lets_it_go_on(home, point, said, while_full, attempts):
    home.mkdir()
    inside = [sys.executable, str(HERE / "full_disk_scenario.py"), str(home), point]
    done = subprocess.run(
        [*NAMESPACE, "sh", "-c", SMALL_DISK, "sh", str(home), *inside], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    if told["while_full"] == "running":  # not even the table could be written: it is taken back after its lease
        said = "There is no space left for"
    else:
        assert told["while_full"] == while_full
    assert told["said"].startswith(said), told
    assert (told["state"], told["attempts"], told["published"]) == ("succeeded", attempts, 1), told
    assert told["jobs"] == 1
