"""Chaos for a quarter of a minute, and the list of safeguards. `make chaos` and `make mutations` do both at length."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "packages" / "core"


@pytest.mark.slow
def test_whatever_is_killed_no_job_is_lost_or_published_twice():
    """How much is done in that time depends on the machine; that something was is what makes the rules worth asking."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "chaos"), "--seconds", "15"],
        capture_output=True,
        text=True,
        timeout=840,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["broken"] == []
    assert result["submitted"] == sum(result["ended"].values()) > 0
    assert sum(result["faults"].values()) > 0


def test_every_safeguard_on_the_list_stands_in_the_code_and_names_a_test():
    """Else taking it away would prove nothing."""
    safeguards = tomllib.loads((ROOT / "benchmarks" / "mutations" / "safeguards.toml").read_text(encoding="utf-8"))[
        "safeguard"
    ]
    assert len({safeguard["name"] for safeguard in safeguards}) == len(safeguards)
    for safeguard in safeguards:
        source = (CORE / "src" / "camelid_core" / safeguard["file"]).read_text(encoding="utf-8")
        assert safeguard["old"] in source, safeguard["name"]
        assert safeguard["old"] != safeguard["new"], safeguard["name"]
        path, _, name = safeguard["test"].partition("::")
        assert f"{name}" in (CORE / "tests" / path).read_text(encoding="utf-8"), safeguard["name"]
