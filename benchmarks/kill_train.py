"""Kill training over and over, and see whether what comes out is what comes out undisturbed.

    python benchmarks/kill_train.py --kills 20
    python benchmarks/kill_train.py --kills 4 --model DIRECTORY --steps 12
    python benchmarks/kill_train.py --kills 10 --per-run 10 --steps 80 --pages

One run is left alone; then runs of the same recipe are killed with signal 9, each up to --per-run times, and taken up
again by a new worker or by `camelid jobs retry`. Half of the kills hit anywhere, half while a checkpoint is written;
the victim is the worker, the process that trains, or both; with --pages also the web pages, which are opened beside
the run and again after each of their deaths. Prints one line of JSON; exit code 1 if any result differs. Without
--model a tiny random model is made.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from camelid_core.events import read_events
from camelid_core.integrity import sha256
from camelid_core.jobs.job import Job, JobState
from camelid_core.jobs.run_directories import EVENTS, attempt_directory
from killing import PAGES, VICTIMS, Harness


def main() -> int:
    given = _arguments()
    with tempfile.TemporaryDirectory(prefix="kill-train-") as temporary:
        home = Path(temporary)
        os.environ["CAMELID_HOME"] = str(home)
        result = Training(home, recipe(given, home), given.seed).compare(given)
    print(json.dumps({"model": given.model or "tiny", "steps": given.steps} | result))
    return 0 if result["equal"] == result["runs"] else 1


def recipe(given: argparse.Namespace, home: Path) -> dict[str, Any]:
    """Several epochs, accumulation, dropout, measurements in between, and the best of it published."""
    model, sources = given.model, ["cot-arithmetic-en"]
    if not model:
        from camelid_core.testing import tiny_model, write_jsonl

        model = str(tiny_model(home / "tiny"))
        rows = [{"instruction": f"Add {a} and {a}.", "output": f"It is {2 * a}."} for a in range(60)]
        sources = [str(write_jsonl(home / "rows.jsonl", rows))]
    return {
        "model": {"name": model, "dtype": "float32"},
        "data": {"sources": sources, "rows": 60, "eval_rows": 6, "template": "chatml", "cutoff": 256},
        "method": {"dropout": 0.1},
        "train": {
            "epochs": 100, "max_steps": given.steps, "batch_size": 4, "accumulation": 2, "save_steps": 2,
            "log_steps": 3, "best": True, "learning_rate": 1e-3,
        },
        "eval": {"steps": 5, "batch_size": 3, "samples": 0},
    }  # fmt: skip


class Training(Harness):
    """Runs a recipe, undisturbed or not; how far it is, is counted in steps."""

    def compare(self, given: argparse.Namespace) -> dict[str, Any]:
        began = time.monotonic()
        reference = self.undisturbed()
        if ":" in reference:
            raise SystemExit(f"the undisturbed run {reference}")
        results = []
        known = (*VICTIMS, PAGES) if given.pages else VICTIMS
        with self.pages() if given.pages else nullcontext():
            while (left := given.kills - self.kills.total()) > 0:  # a run may be over before it is killed
                results.append(self.disturbed([self.chance.choice(known) for _ in range(min(left, given.per_run))]))
        return {
            "kills": self.kills.total(),
            "runs": len(results),
            "equal": sum(result == reference for result in results),
            "others": [result for result in results if result != reference],
            "victims": dict(self.kills),
            "after_steps": self.after,
            "sha256": reference,
            "seconds": round(time.monotonic() - began),
        }

    def undisturbed(self) -> str:
        job = self.store.submit("train", self.config, "undisturbed")
        with self.worker():
            return fingerprint(self.ended(job))

    def disturbed(self, victims: list[str]) -> str:
        """The same, with a kill of each of these."""
        job = self.store.submit("train", self.config)
        left, attempt = list(victims), 0
        while left and not self.over(job.id):
            with self.worker() as worker:
                # an attempt whose worker died may still be at work, and is nobody's any more
                self.until(job.id, lambda last=attempt: self.over(job.id) or self.store.get(job.id).epoch > last)
                while left and self.wait_for_moment(job.id):
                    attempt = self.store.get(job.id).epoch
                    self.kill(job.id, worker, victim := left.pop(0))
                    if victim != PAGES:  # these alone leave the worker at its work
                        break
        with self.worker():
            return fingerprint(self.ended(job))

    def wait_for_moment(self, job_id: int, most: int | None = None) -> bool:
        """Some steps on, a part of a step later, or in the middle of a save; False if the run was faster. It may do no
        more than `most` steps."""
        saves = self.chance.random() < 0.5
        self.until(job_id, lambda: self.over(job_id) or self.step(job_id) is not None)
        wanted = min(self.done(job_id) + self.chance.randrange(4), most or self.config["train"]["max_steps"])
        self.until(job_id, lambda: self.over(job_id) or self.done(job_id) >= wanted)
        directory = attempt_directory(self.home, job_id, self.store.get(job_id).epoch) / "checkpoints"
        if saves:
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline and not list(directory.glob(".step-*")):
                time.sleep(0.0005)
        else:
            time.sleep(self.chance.random() * 0.2)
        return not self.over(job_id)

    def done(self, job_id: int) -> int:
        return self.step(job_id) or 0

    def step(self, job_id: int) -> int | None:
        """Steps of the newest attempt, once it has begun with them."""
        events, _ = read_events(attempt_directory(self.home, job_id, self.store.get(job_id).epoch) / EVENTS)
        steps = [event["done"] for event in events if event["kind"] == "progress" and event["unit"] == "steps"]
        return steps[-1] if steps else None


def fingerprint(job: Job) -> str:
    """Of the parameters that were published, or how the job ended instead."""
    if job.state is not JobState.SUCCEEDED:
        return f"{job.state}: {job.error}"
    return sha256(Path(job.published) / "adapter_model.safetensors")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Kill training over and over; compare what comes out.")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--per-run", type=int, default=3, help="kills of one run at most")
    parser.add_argument("--pages", action="store_true", help="open the web pages beside the runs, and kill them too")
    parser.add_argument("--model", default="", help="a model's directory or name; a tiny random one without it")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
