"""Chaos: a queue whose workers, attempts and submitter are killed all the time, and the rules that must hold.

    python benchmarks/chaos --minutes 10
    python benchmarks/chaos --seconds 20 --seed 3

Stub jobs are submitted without end and run by two workers and two agents of other machines, each job in a process of
its own. Every 0.2 to 2 s something is killed, stopped for longer than its lease, the network is cut or the disk is made
full; people cancel, pause, retry and reorder meanwhile. When the time is over, all is worked off, and what is left is
judged. Each broken rule is printed as it is found, and one line of JSON at the end; exit code 1 if one was broken.

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
from camelid_serve.machines.certificate import server_identity
from far_parts import Wire, add_machines, free_port
from faults import HERE, Disk, Faults, Part, Parts, People
from parts import LEASE_SECONDS, note, notes

MEGABYTES = 400
WORKERS = 4
KEPT = 200
"""Jobs whose files are kept while others go on: a worker looks through all of them when it starts."""
QUIET_SECONDS = 5.0
OVER = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
_NAMESPACE = ["unshare", "-Urmpf", "--mount-proc", "--kill-child"]
_MOUNT = (
    f'for each in home machines; do mount -t tmpfs -o size={MEGABYTES}m chaos "$1/$each"; done; shift; "$@"; exit $?'
)


def main() -> int:
    given = _arguments()
    if given.inside:
        return Chaos(Path(given.inside), given).run()
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        for name in ("home", "machines", "outside"):
            (Path(temporary) / name).mkdir(0o700)
        command = [sys.executable, str(HERE), *sys.argv[1:], "--inside", temporary]
        if subprocess.run([*_NAMESPACE, "true"], capture_output=True).returncode == 0:
            command = [*_NAMESPACE, "sh", "-c", _MOUNT, "sh", temporary, *command]
        else:
            sys.stderr.write("chaos: no namespace can be made here, so the disk is never full.\n")
        os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), *sys.path[1:]])
        os.environ["CHAOS_LEASE"] = str(given.lease)
        os.environ["CAMELID_HOME"] = str(Path(temporary) / "home")
        return subprocess.run(command).returncode


class Chaos:
    def __init__(self, top: Path, given: argparse.Namespace) -> None:
        self.home, self.outside = top / "home", top / "outside"
        self.seconds = given.seconds or given.minutes * 60
        self.store = JobStore(self.home / "jobs.sqlite3")
        install(self.store.path)
        self.parts = self.start(given.agents, given.log or self.outside / "log.txt")
        self.disk = Disk(self.home, MEGABYTES)
        self.faults = Faults(self.parts, self.disk, given.seed)
        self.people = People(self.store, given.seed)
        self.chance = random.Random(given.seed)
        self.calm = given.calm
        self.seen = 0
        self.broken: list[str] = []
        self.after_quiet = 0

    def start(self, agents: int, log: Path) -> Parts:
        places, port = (self.home, self.outside), free_port()
        workers = [Part(log, "parts.py", "work", *places) for _ in range(WORKERS - agents)]
        door, wires = [], []
        if agents:
            identity = server_identity(self.home)
            door = [Part(log, "far_parts.py", "door", *places, port)]
            for name, token in add_machines(self.store, [f"far-{n}" for n in range(agents)], self.outside).items():
                wires.append(Wire(port))
                url = f"https://127.0.0.1:{wires[-1].port}/{identity.fingerprint}"
                (home := self.home.parent / "machines" / name).mkdir()
                workers.append(Part(log, "far_parts.py", "agent", url, home, token))
        self.until = time.monotonic() + self.seconds
        return Parts(Part(log, "parts.py", "submit", *places, self.until), workers, door, wires)

    def run(self) -> int:
        began, load = time.monotonic(), os.getloadavg()[0]
        self.worked_for(min(QUIET_SECONDS, self.seconds / 4))
        self.after_quiet = self.seen
        self.disturb()
        disturbed = time.monotonic() - began
        self.drain()
        for fault in broken_in_the_end(self.store, self.outside, self.home):
            self.say(fault)
        result = self.report() | {"seconds": round(disturbed), "seconds_with_drain": round(time.monotonic() - began)}
        result |= {"load_before": round(load, 1), "load_after": round(os.getloadavg()[0], 1)}
        print(json.dumps(result | {"broken": self.broken[:20], "broken_rules": len(self.broken)}))
        return 1 if self.broken else 0

    def worked_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.watch()
            time.sleep(0.1)

    def disturb(self) -> None:
        next_fault = next_request = 0.0
        while (now := time.monotonic()) < self.until:
            if now >= next_fault and not self.calm:
                self.faults.one()
                next_fault = time.monotonic() + self.chance.uniform(0.2, 2.0)
            if now >= next_request:
                with suppress(JobError):
                    self.people.one()
                next_request = time.monotonic() + 0.25
            self.watch()
            self.parts.keep_alive(submit=True)
            time.sleep(0.05)
        self.faults.let_go()

    def drain(self, patience: float = 600.0) -> None:
        """Work off what there is; then the workers leave."""
        self.parts.submitter.process.wait()
        deadline = time.monotonic() + patience
        waiting = [state for state in JobState if state not in OVER]
        while self.store.list(waiting, limit=1) and time.monotonic() < deadline:
            self.parts.keep_alive(submit=False)
            self.watch(over=True)
            time.sleep(0.2)
        for job in self.store.list(waiting):
            self.say(f"job {job.id} is still {job.state} {patience:g} s after everything was quiet")
        for part in (*self.parts.workers, *self.parts.door):
            part.process.terminate()
        for part in (*self.parts.workers, *self.parts.door):
            part.process.wait(120)
        deadline = time.monotonic() + 30
        while left_running(self.home.parent) and time.monotonic() < deadline:
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
        jobs = self.store.list(OVER, limit=10_000)
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
        by_agents = sum(move["now"] == "claimed" and move["owner"].startswith("agent:") for move in found)
        quiet = seconds_between(found[: self.after_quiet], "claimed", "running")
        return {
            "submitted": sum(not move["was"] for move in found), "ended": dict(ended),
            "attempts": sum(move["now"] == "claimed" for move in found),
            "lost": sum(move["now"] == "lost" for move in found),
            "placed": len({each["path"] for each in notes(self.outside / "placed.jsonl")}),
            "faults": dict(self.faults.counts), "requests": dict(self.people.requests),
            "restarts": sum(part.restarts for part in (*self.parts.workers, *self.parts.door, self.parts.submitter)),
            "small_disk": self.disk.small, "lease": LEASE_SECONDS,
            "agents": len(self.parts.wires), "by_agents": by_agents,
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
    parser.add_argument("--agents", type=int, default=2, help="how many of the four workers are agents")
    parser.add_argument("--calm", action="store_true", help="nothing goes wrong: how fast is it then?")
    parser.add_argument("--lease", type=float, default=3, help="seconds; more where the machine is slow or busy")
    parser.add_argument("--log", type=Path, help="a file for all that the processes print")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
