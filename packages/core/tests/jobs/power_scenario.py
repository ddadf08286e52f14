"""What is traced before the power is cut: two jobs are submitted, one is run and published. `power_scenario.py HOME`.

It says on standard output what it has promised to people, in the order in which it does.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from camelid_core.artefacts import Manifest, verify_directory, write_manifest
from camelid_core.durable_directories import fsync_directory
from camelid_core.file_permissions import make_private_directory
from camelid_core.jobs.attempt_result import AttemptResult, Outcome
from camelid_core.jobs.publication import publish
from camelid_core.jobs.run_directories import OUTPUT, attempt_directory
from camelid_core.jobs.store import JobStore


def say(promise: str) -> None:
    os.write(1, f"{promise}\n".encode())


def main(home: Path) -> None:
    store = JobStore(home / "jobs.sqlite3")
    for _ in range(2):
        say(f"accepted {store.submit('tick', {}, 'mine').id}")
    job = store.claim("w", 1e6)
    assert job is not None
    directory = attempt_directory(home, job.id, job.epoch)
    make_private_directory(directory.parent, home)
    directory.mkdir()
    fsync_directory(directory.parent)
    job = store.start(job, "pid 1")
    output = directory / OUTPUT
    output.mkdir()
    (output / "weights").write_bytes(b"w" * 10_000)
    write_manifest(output, Manifest(kind="evaluation"))
    result = AttemptResult(Outcome.SUCCEEDED, summary={"loss": 1.5})
    result.write(directory)
    published = publish(store, job, directory, result, verify_directory)
    say(f"published {published.id}")
    say(f"accepted {store.submit('tick', {}).id}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
