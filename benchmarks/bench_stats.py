"""How fast, and in how much memory, `camelid datasets stats` reads a million rows.

    python benchmarks/bench_stats.py --rows 1000000

Generates JSON Lines from a seed (60–400 characters a row, some copies, some faults), runs the command as a
process of its own, and prints seconds, rows per second and the peak of its resident memory as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_TEXT = """
a about after all also an and answer are as at because before by can child city close day each even every
explain find first for from give good hand he help her high home how if in is it large last life line list
long make many mean most move name near new night no number of often on one open or other over page part
people place plant point question read right river run same say school sentence she short show side small some
sound spell still story study such take than that the their them then these they thing this three time to tree
turn under use very want water way we well what when where which while who why will with word work world would
write year you young
"""
_WORDS = _TEXT.split()
_ASKS = (
    "Explain why",
    "Write a story in which",
    "List the ways in which",
    "Translate:",
    "How many times did",
    "Is it so that",
)
_FAULTS = (" #blessed #happy", "\\nOptions:\\n- yes", " <|im_end|>", " Itâ€™s so.")


def generate(path: Path, rows: int, seed: int) -> None:
    """One row in fifty is a copy of an earlier one, one in five hundred has a fault, one in twenty an input."""
    choose = random.Random(seed)
    kept: list[str] = []
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            if kept and number % 50 == 49:
                file.write(choose.choice(kept))
                continue
            line = json.dumps(_row(choose, number), ensure_ascii=False) + "\n"
            if len(kept) < 10_000:
                kept.append(line)
            file.write(line)


def _row(choose: random.Random, number: int) -> dict[str, str]:
    length = choose.randint(8, 70)
    words = choose.choices(_WORDS, k=length)
    asked = length // 3
    answer = " ".join(words[asked:]).capitalize() + "."
    if number % 500 == 499:
        answer += choose.choice(_FAULTS)
    return {
        "instruction": f"{choose.choice(_ASKS)} {' '.join(words[:asked])}?",
        "input": " ".join(words[:5]) if number % 20 == 7 else "",
        "output": answer,
    }


def measure(path: Path, options: list[str]) -> dict[str, object]:
    """Run the command on `path`; its own report is kept in part, as a proof that it did the work."""
    home = {**os.environ, "CAMELID_HOME": str(path.parent / "home")}
    command = [sys.executable, "-m", "camelid_core.cli", "datasets", "stats", str(path), "--json", *options]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env=home, check=False)
    seconds = time.monotonic() - began
    if done.returncode:
        raise SystemExit(done.stderr)
    found = json.loads(done.stdout)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "rows": found["rows"],
        "bytes": path.stat().st_size,
        "seconds": round(seconds, 2),
        "rows_per_second": round(found["rows"] / seconds),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_rss_mb": used.ru_maxrss >> 10,
        "duplicates": found["lints"].get("duplicate", {}).get("rows"),
        "load_average": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("options", nargs="*", help="further options of the command, after --")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "rows.jsonl"
        generate(path, given.rows, given.seed)
        print(json.dumps(measure(path, given.options), indent=2))


if __name__ == "__main__":
    main()
