"""A home, and two clusters: submitit's stand-in, and stand-ins of Slurm's programs, which run jobs on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from camelid_core.jobs.store import JobStore

pytest.importorskip("submitit", reason="submitit is not installed")

PROGRAMS = {
    "sbatch": """
script = Path(args[-1])
number = str(1 + len(list(place.glob("*.pid"))))
rank = {name: "0" for name in ("SLURM_NODEID", "SLURM_PROCID", "SLURM_LOCALID")}
ours = {"SLURM_JOB_ID": number, "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "x", **rank}
process = subprocess.Popen(["bash", script], env=os.environ | ours, start_new_session=True,
                           stdin=-3, stdout=-3, stderr=-3)
(place / f"{number}.pid").write_text(str(process.pid))
(place / f"{number}.sh").write_text(script.read_text())
print(f"Submitted batch job {number}")
""",
    "srun": """
while args[0].startswith("--"):
    args = args[2:] if args[0] in ("--output", "--error") else args[1:]
os.execvp(args[0], args)
""",
    "sacct": """
print("JobID|State|NodeList")
for number in (args[args.index("-j") + 1],):
    pid = (place / f"{number}.pid").read_text()
    cancelled = (place / f"{number}.cancelled").exists()
    stat = Path(f"/proc/{pid}/stat")
    running = stat.exists() and stat.read_text().split(")")[1].split()[0] != "Z"
    print(f"{number}|{'RUNNING' if running else 'CANCELLED by 0' if cancelled else 'COMPLETED'}|x")
""",
    "scancel": """
number = args[-1]
(place / f"{number}.cancelled").touch()
import contextlib
with contextlib.suppress(ProcessLookupError):
    os.killpg(int((place / f"{number}.pid").read_text()), 9)
""",
}
HEAD = """#!{python} -S
import os, subprocess, sys
from pathlib import Path
place, args = Path({place!r}), sys.argv[1:]
"""


@pytest.fixture(params=["local", "slurm"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobStore:
    place = tmp_path / "slurm"
    place.mkdir()
    for name, text in PROGRAMS.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(HEAD.format(python=sys.executable, place=str(place)) + text)
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CAMELID_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CAMELID_SLURM_CLUSTER", request.param)
    monkeypatch.setenv("CAMELID_PLUGINS", "executor-contract==1=camelid_core.plugin_kit.contract_tasks")
    return JobStore(tmp_path / "home" / "jobs.sqlite3", backoff=(0.2, 0.2, 0.2))
