"""Chaos: a queue whose workers, attempts and submitter are killed all the time, and the rules that must hold.

    python benchmarks/chaos --minutes 10
    python benchmarks/chaos --seconds 20 --seed 3

Stub jobs are submitted without end and run by four workers, each job in a process of its own. Every 0.2 to 2 s
something is killed, stopped for longer than its lease, or the disk is made full; people cancel, pause, retry and
reorder meanwhile. When the time is over, all is worked off, and what is left is judged. Each broken rule is printed as
it is found, and one line of JSON at the end; exit code 1 if a rule was broken.

The home directory is a small tmpfs in a namespace of its own, where the system lets users make one; elsewhere it is a
plain directory, which is never full.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from audit import broken_in_the_end, broken_moves, install, left_running, moves, seconds_between, wrong_artefact
from camelid_core.errors import JobError
from camelid_core.jobs.deletion import delete
from camelid_core.jobs.job import JobState
from camelid_core.jobs.store import JobStore
from faults import HERE, Disk, Faults, Part, People
from parts import note, notes

MEGABYTES = 400
WORKERS = 4
KEPT = 200
"""Jobs whose files are kept while others go on: a worker looks through all of them when it starts."""
QUIET_SECONDS = 5.0
_NAMESPACE = ["unshare", "-Urmpf", "--mount-proc", "--kill-child"]
_MOUNT = f'mount -t tmpfs -o size={MEGABYTES}m chaos "$1" && shift && "$@"; exit $?'


def main() -> int:
    given = _arguments()
    if given.inside:
        return Chaos(Path(given.inside), given).run()
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        (Path(temporary) / "home").mkdir(0o700)
        (Path(temporary) / "outside").mkdir()
        command = [sys.executable, str(HERE), *sys.argv[1:], "--inside", temporary]
        if subprocess.run([*_NAMESPACE, "true"], capture_output=True).returncode == 0:
            command = [*_NAMESPACE, "sh", "-c", _MOUNT, "sh", str(Path(temporary) / "home"), *command]
        else:
            sys.stderr.write("chaos: no namespace can be made here, so the disk is never full.\n")
        os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), *sys.path[1:]])
        os.environ["CAMELID_HOME"] = str(Path(temporary) / "home")
        return subprocess.run(command).returncode


class Chaos:
    def __init__(self, top: Path, given: argparse.Namespace) -> None:
        self.home, self.outside = top / "home", top / "outside"
        self.seconds = given.seconds or given.minutes * 60
        self.store = JobStore(self.home / "jobs.sqlite3")
        install(self.store.path)
        until = time.monotonic() + self.seconds
        log, places = self.outside / "log.txt", (str(self.home), str(self.outside))
        self.submitter = Part(log, "submit", *places, str(until))
        self.workers = [Part(log, "work", *places) for _ in range(WORKERS)]
        self.disk = Disk(self.home, MEGABYTES)
        self.faults = Faults(self.workers, self.submitter, self.disk, given.seed)
        self.people = People(self.store, given.seed)
        self.chance = random.Random(given.seed)
        self.until = until
        self.seen = 0
        self.broken: list[str] = []
        self.after_quiet = 0

    def run(self) -> int:
        began, load = time.monotonic(), os.getloadavg()[0]
        self.worked_for(min(QUIET_SECONDS, self.seconds / 4))
        self.after_quiet = self.seen
        self.disturb()
        disturbed = time.monotonic() - began
        self.drain()
        for fault in broken_in_the_end(self.store, self.outside, self.home):
            self.say(fault)
        result = self.report() | {
            "seconds": round(disturbed, 1),
            "seconds_with_drain": round(time.monotonic() - began, 1),
        }
        print(
            json.dumps(
                result
                | {
                    "load_before": load,
                    "load_after": os.getloadavg()[0],
                    "broken": self.broken[:20],
                    "broken_rules": len(self.broken),
                }
            )
        )
        return 1 if self.broken else 0

    def worked_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.watch()
            time.sleep(0.1)

    def disturb(self) -> None:
        next_fault = next_request = 0.0
        while (now := time.monotonic()) < self.until:
            self.faults.release()
            if now >= next_fault:
                self.faults.one()
                next_fault = time.monotonic() + self.chance.uniform(0.2, 2.0)
            if now >= next_request:
                with suppress(JobError):
                    self.people.one()
                next_request = time.monotonic() + 0.25
            self.watch()
            for part in (*self.workers, self.submitter):
                part.keep_alive()
            time.sleep(0.05)
        self.faults.release(everything=True)

    def drain(self, patience: float = 600.0) -> None:
        """Work off what there is; then the workers leave."""
        self.submitter.process.wait()
        deadline = time.monotonic() + patience
        waiting = [
            state for state in JobState if state not in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
        ]
        while self.store.list(waiting, limit=1) and time.monotonic() < deadline:
            for part in self.workers:
                part.keep_alive()
            self.watch(over=True)
            time.sleep(0.2)
        for job in self.store.list(waiting):
            self.say(f"job {job.id} is still {job.state} {patience:g} s after everything was quiet")
        for part in self.workers:
            part.process.terminate()
        for part in self.workers:
            part.process.wait(60)
        deadline = time.monotonic() + 30
        while left_running(self.home) and time.monotonic() < deadline:
            time.sleep(0.2)

    def watch(self, over: bool = False) -> None:
        """Judge what happened since the last time, and clear away old jobs."""
        found = moves(self.store.path, self.seen)
        self.seen = found[-1]["seq"] if found else self.seen
        for fault in broken_moves(found):
            self.say(fault)
        with suppress(JobError):  # the disk is full
            self.people.tidy(over)
            self.clear_old()

    def clear_old(self) -> None:
        acknowledged = None
        jobs = self.store.list([JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED], limit=10_000)
        for job in jobs[KEPT:][-20:]:
            acknowledged = acknowledged or {each["job"] for each in notes(self.outside / "acknowledged.jsonl")}
            if job.id not in acknowledged:  # its submitter will ask for it by its key
                continue
            if job.published and (fault := wrong_artefact(job)):
                self.say(fault)
            with suppress(JobError):  # another job needs it, or somebody retried it
                gone = delete(self.store, job.id)
                note(self.outside / "deleted.jsonl", job=gone.id, state=str(gone.state))
                if gone.published:
                    shutil.rmtree(gone.published)

    def report(self) -> dict[str, Any]:
        found = moves(self.store.path)
        deleted = Counter(each["state"] for each in notes(self.outside / "deleted.jsonl"))
        ended = deleted + Counter(str(job.state) for job in self.store.list(limit=1_000_000))
        starts = seconds_between(found, "claimed", "running")
        quiet = seconds_between(found[: self.after_quiet], "claimed", "running")
        return {
            "submitted": sum(not move["was"] for move in found), "ended": dict(ended),
            "attempts": sum(move["now"] == "claimed" for move in found),
            "lost": sum(move["now"] == "lost" for move in found),
            "placed": len({each["path"] for each in notes(self.outside / "placed.jsonl")}),
            "faults": dict(self.faults.counts), "requests": dict(self.people.requests),
            "restarts": {"workers": sum(part.restarts for part in self.workers), "submitter": self.submitter.restarts},
            "small_disk": self.disk.small, "agents": 0,
            "claim_to_start_p95_quiet": _p95(quiet), "claim_to_start_p95": _p95(starts), "quiet_starts": len(quiet),
        }  # fmt: skip

    def say(self, fault: str) -> None:
        self.broken.append(fault)
        print(f"broken: {fault}", flush=True)


def _p95(values: list[float]) -> float | None:
    return round(values[int(len(values) * 0.95)], 3) if values else None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Kill everything around a job queue, and see whether its rules hold.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seconds", type=float, default=0, help="instead of minutes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
