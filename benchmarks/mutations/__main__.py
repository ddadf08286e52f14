"""Take one safeguard away after another, and see whether a test notices.

    python benchmarks/mutations                 all safeguards of safeguards.toml
    python benchmarks/mutations "a lease"       those with these words in their names

Each safeguard is taken out of a temporary copy of `camelid_core`, and the test that it names is run against the copy,
in namespaces of its own: code without its safeguards may kill what it should not. Prints a line for each, and one line
of JSON at the end; exit code 1 if a test did not notice. One whose text is no longer in its file counts as not noticed.
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
"""Pytest's exit code where nothing was collected; one above 1 says nothing of the safeguard."""
_SECONDS = 900.0


@dataclass(frozen=True)
class Safeguard:
    """`old` stands in `file`; without it, that is with `new` in its place, `test` must fail."""

    name: str
    file: str
    old: str
    new: str
    test: str

    @property
    def fits(self) -> bool:
        return self.old in (CORE / "src" / "camelid_core" / self.file).read_text(encoding="utf-8")


def safeguards() -> list[Safeguard]:
    with (Path(__file__).parent / "safeguards.toml").open("rb") as file:
        return [Safeguard(**each) for each in tomllib.load(file)["safeguard"]]


def main() -> int:
    wanted = [safeguard for safeguard in safeguards() if all(word in safeguard.name for word in sys.argv[1:])]
    if subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode:
        sys.exit(
            "No namespace can be made here, and without one a missing safeguard could end this machine's processes."
        )
    began, unnoticed = time.monotonic(), []
    for safeguard in wanted:
        verdict = tried(safeguard)
        print(f"{verdict:10} {safeguard.name}", flush=True)
        if verdict != "noticed":
            unnoticed.append(safeguard.name)
    seconds = round(time.monotonic() - began)
    print(json.dumps({"safeguards": len(wanted), "unnoticed": unnoticed, "seconds": seconds}))
    return 1 if unnoticed else 0


def tried(safeguard: Safeguard) -> str:
    """`noticed`, `unnoticed`, `gone` where the safeguard stands there no more, `unclear` where the test did not run."""
    if not safeguard.fits:
        return "gone"
    with tempfile.TemporaryDirectory(prefix="mutation-") as temporary:
        package = Path(temporary) / "src" / "camelid_core"
        shutil.copytree(CORE / "src" / "camelid_core", package, ignore=shutil.ignore_patterns("__pycache__"))
        path = package / safeguard.file
        path.write_text(path.read_text(encoding="utf-8").replace(safeguard.old, safeguard.new), encoding="utf-8")
        code = run(safeguard.test, package.parent, Path(temporary) / "pytest")
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
