"""Kill a batch prediction over and over, and see whether what comes out is what comes out undisturbed.

    python benchmarks/kill_predict.py --kills 20 --rows 500
    python benchmarks/kill_predict.py --kills 4 --rows 60 --model DIRECTORY

One prediction is left alone; then others of the same rows are killed with signal 9 until there were as many kills as
asked for, each after a random number of further rows, and taken up again by a new worker or by `camelid jobs retry`.
The victim is the worker, the process that predicts, or both. Prints one line of JSON: how many results are the same
byte for byte, and whether a row stands twice in the work files of all attempts. Exit code 1 if anything differs.
Without --model a tiny random model is made.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from camelid_core.integrity import sha256
from camelid_core.jobs.job import Job, JobState
from camelid_core.jobs.run_directories import attempts
from camelid_serve.predict.inputs import PREDICTIONS
from camelid_serve.predict.task import WORK
from killing import VICTIMS, Harness


def main() -> int:
    given = _arguments()
    with tempfile.TemporaryDirectory(prefix="kill-predict-") as temporary:
        home = Path(temporary)
        os.environ["CAMELID_HOME"] = str(home)
        result = Predicting(home, config_of(given, home), given.rows, given.seed).compare(given.kills)
    print(json.dumps({"model": given.model or "tiny", "rows": given.rows} | result))
    return 0 if result["equal"] == result["runs"] else 1


def config_of(given: argparse.Namespace, home: Path) -> dict[str, Any]:
    """Rows of many lengths, a few that cannot be asked, sampled so that a wrong seed would show."""
    from camelid_core.testing import tiny_model

    chance = random.Random(given.seed)
    source = home / "rows.jsonl"
    with source.open("w", encoding="utf-8") as file:
        for number in range(given.rows):
            row = {"instruction": f"Add {number} and {number * 7}." + " Please." * chance.randrange(12), "n": number}
            file.write("{broken\n" if number % 97 == 96 else json.dumps(row) + "\n")
    return {
        "model": given.model or str(tiny_model(home / "tiny")), "input": str(source), "batch_size": 4,
        "dtype": "float32", "sampling": {"max_new_tokens": given.tokens, "temperature": 0.8},
    }  # fmt: skip


class Predicting(Harness):
    """Runs one prediction, undisturbed or not; how far it is, is counted in rows."""

    def __init__(self, home: Path, config: dict[str, Any], rows: int, seed: int = 0) -> None:
        super().__init__(home, config, seed)
        self.rows = rows

    def compare(self, kills: int) -> dict[str, Any]:
        began = time.monotonic()
        reference = self.undisturbed()
        results = []
        while (left := kills - self.kills.total()) > 0:
            results.append(self.disturbed(left))
        return {
            "kills": self.kills.total(),
            "runs": len(results),
            "equal": sum(result["sha256"] == reference["sha256"] and not result["missing"] for result in results),
            "reference": reference,
            "disturbed": results,
            "victims": dict(self.kills),
            "after_rows": self.after,
            "seconds": round(time.monotonic() - began),
        }

    def undisturbed(self) -> dict[str, Any]:
        job = self.store.submit("predict", self.config, "undisturbed")
        with self.worker():
            return self.outcome(self.ended(job))

    def disturbed(self, kills: int) -> dict[str, Any]:
        """Killed after a share of the rows each time, so that there are rows left for the last kill."""
        job = self.store.submit("predict", self.config)
        for left in range(kills, 0, -1):
            with self.worker() as worker:
                some = (self.rows - self.done(job.id)) / (left + 1)
                wanted = self.done(job.id) + max(1, round(some * self.chance.uniform(0.5, 1.2)))
                self.until(job.id, lambda wanted=wanted: self.over(job.id) or self.done(job.id) >= wanted)
                if self.over(job.id):
                    break
                self.kill(job.id, worker, self.chance.choice(VICTIMS))
        with self.worker():
            return self.outcome(self.ended(job))

    def done(self, job_id: int) -> int:
        return len(self.answered(job_id))

    def answered(self, job_id: int) -> Counter[int]:
        """How often each row stands in the work files of all attempts."""
        found: Counter[int] = Counter()
        for directory in attempts(self.home, job_id):
            with suppress(OSError):
                for line in (directory / WORK).read_bytes().split(b"\n"):
                    with suppress(ValueError, KeyError):
                        found[json.loads(line)["row"]] += 1
        return found

    def outcome(self, job: Job) -> dict[str, Any]:
        if job.state is not JobState.SUCCEEDED:
            raise SystemExit(f"job {job.id} ended as {job.state}: {job.error}")
        path = Path(job.published) / PREDICTIONS
        lines = path.read_bytes().count(b"\n")
        answered = self.answered(job.id)
        return {
            "sha256": sha256(path), "rows": lines, "missing": self.rows - lines, "attempts": job.epoch,
            "rows_in_work_files": len(answered), "answered_twice": sum(count > 1 for count in answered.values()),
        }  # fmt: skip


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Kill a batch prediction over and over; compare what comes out.")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--tokens", type=int, default=160, help="longest answer, in tokens")
    parser.add_argument("--model", default="", help="a model's directory or name; a tiny random one without it")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
