"""What is traced before the power is cut: two jobs are submitted, one is run and published. `power_scenario.py HOME`.

It says on standard output what it has promised to people, in the order in which it does.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

from camelid_core.artefacts import Manifest, write_manifest
from camelid_core.jobs.attempt_result import AttemptResult, Outcome
from camelid_core.jobs.job import Job
from camelid_core.jobs.run_directories import OUTPUT
from camelid_core.jobs.store import JobStore
from camelid_core.jobs.worker import Worker


def say(promise: str) -> None:
    os.write(1, f"{promise}\n".encode())


class Here:
    """Executor and handle: does in this process what an attempt does, so that one trace has it all."""

    name, identity = "here", "here"

    def start(self, job: Job, directory: Path) -> Here:
        output = directory / OUTPUT
        output.mkdir()
        (output / "weights").write_bytes(b"w" * 10_000)  # tasks do not sync what they write
        write_manifest(output, Manifest(kind="evaluation"))
        AttemptResult(Outcome.SUCCEEDED, summary={"loss": 1.5}).write(directory)
        return self

    def kill_leftovers(self, directory: Path) -> None: ...

    def poll(self) -> int:
        return 0

    def request_stop(self, stop: Literal["finish", "save"]) -> None: ...

    def kill(self) -> None: ...


def main(home: Path) -> None:
    store = JobStore(home / "jobs.sqlite3")
    for _ in range(2):
        say(f"accepted {store.submit('tick', {}, 'mine').id}")
    done = Worker(store, lambda job: Here()).run_job(1)
    say(f"{'published' if done.published else done.error} {done.id}")
    say(f"accepted {store.submit('tick', {}).id}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
