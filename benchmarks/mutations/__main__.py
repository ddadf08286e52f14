"""Take one guard away after another, and see whether a test notices.

    python benchmarks/mutations                 all guards of guards.toml
    python benchmarks/mutations "a lease"       those with these words in their names

Each guard is taken out of a temporary copy of `camelid_core`, and the test that it names is run against the copy, in
namespaces of its own: code without its guards may kill what it should not. Prints a line for each guard, and one line of
JSON at the end; exit code 1 if a test did not notice. A guard whose text is no longer in its file counts as not noticed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORE = ROOT / "packages" / "core"
NAMESPACE = ["unshare", "-Urmpf", "--mount-proc", "--kill-child", "--"]
_NO_TESTS = 5
"""Pytest's exit code where nothing was collected; one above 1 says nothing of the guard."""
_SECONDS = 900.0


@dataclass(frozen=True)
class Guard:
    """`old` stands in `file`; without it, that is with `new` in its place, `test` must fail."""

    name: str
    file: str
    old: str
    new: str
    test: str

    @property
    def fits(self) -> bool:
        return self.old in (CORE / "src" / "camelid_core" / self.file).read_text(encoding="utf-8")


def guards() -> list[Guard]:
    with (Path(__file__).parent / "guards.toml").open("rb") as file:
        return [Guard(**each) for each in tomllib.load(file)["guard"]]


def main() -> int:
    wanted = [guard for guard in guards() if all(word in guard.name for word in sys.argv[1:])]
    if subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode:
        sys.exit("No namespace can be made here, and without one a missing guard could end this machine's processes.")
    began, unnoticed = time.monotonic(), []
    for guard in wanted:
        verdict = tried(guard)
        print(f"{verdict:10} {guard.name}", flush=True)
        if verdict != "noticed":
            unnoticed.append(guard.name)
    seconds = round(time.monotonic() - began)
    print(json.dumps({"guards": len(wanted), "unnoticed": unnoticed, "seconds": seconds}))
    return 1 if unnoticed else 0


def tried(guard: Guard) -> str:
    """`noticed`, `unnoticed`, `gone` where the guard stands there no more, `unclear` where the test did not run."""
    if not guard.fits:
        return "gone"
    with tempfile.TemporaryDirectory(prefix="mutation-") as temporary:
        package = Path(temporary) / "src" / "camelid_core"
        shutil.copytree(CORE / "src" / "camelid_core", package, ignore=shutil.ignore_patterns("__pycache__"))
        path = package / guard.file
        path.write_text(path.read_text(encoding="utf-8").replace(guard.old, guard.new), encoding="utf-8")
        code = run(guard.test, package.parent, Path(temporary) / "pytest")
    if code == 0:
        return "unnoticed"
    return "noticed" if code == 1 or code < 0 or code > 128 else "unclear"


def run(test: str, source: Path, temporary: Path) -> int:
    """The exit code of pytest; negative or above 128 if it was killed, as by what it tests."""
    others = [str(path) for path in sorted(ROOT.glob("packages/*/src")) if path != CORE / "src"]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(source), *others]), "CAMELID_SAME_EXAMPLES": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # a quarter of the time
    }  # fmt: skip
    pytest = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "pytest_timeout", "-p", "no:cacheprovider"]
    pytest.append(f"--basetemp={temporary}")
    # a shell is the namespace's first process, so that pytest is none
    command = [*NAMESPACE, "sh", "-c", '"$@"; exit $?', "sh", *pytest, str(CORE / "tests" / test)]
    try:
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return -1  # it hangs: the test was not passed
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
