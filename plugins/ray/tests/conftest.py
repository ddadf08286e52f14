"""A real Ray cluster of two machines on this one, with a token, and a home that both see."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from camelid_core.jobs.store import JobStore

pytest.importorskip("ray", reason="Ray is not installed")

ROOT = Path(__file__).parents[3]
NODE = "CAMELID_TEST_NODE"
TRIES = 10
ALWAYS = (
    "--num-cpus=4", "--num-gpus=0", "--object-store-memory=80000000", "--min-worker-port=0", "--max-worker-port=0",
    "--disable-usage-stats",
)  # fmt: skip
"""Each machine says that it has four cores, whatever this one has: nothing here computes for long."""


@dataclass
class Cluster:
    """`kill(number)` ends one of the machines as a power cut does."""

    directory: Path
    token: str = field(default_factory=lambda: secrets.token_hex(32))
    marks: list[str] = field(default_factory=list)
    port: int = field(default_factory=lambda: free_port())

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start_head(self) -> None:
        self._start(
            "--head", "--port=0", f"--dashboard-port={self.port}", f"--ray-client-server-port={free_port()}",
            f"--temp-dir={self.directory}",
        )  # fmt: skip

    def join(self) -> None:
        self._start(f"--address={(self.directory / 'ray_current_cluster').read_text().strip()}")

    def keep(self, machines: int) -> None:
        """Have at least so many machines: tests kill some."""
        while len(self.marks) < machines:
            self.join()

    def kill(self, number: int) -> int:
        """All that runs on the machine, what Ray started there too; how many processes that were."""
        killed = 0
        for _ in range(3):
            for process in psutil.process_iter():
                with suppress(psutil.Error, OSError):
                    if process.environ().get(NODE) == self.marks[number]:
                        process.kill()
                        killed += 1
        del self.marks[number]
        return killed

    def stop(self) -> None:
        while self.marks:
            self.kill(-1)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start(self, *arguments: str) -> None:
        """Ray gives a machine 30 s to come up, whatever else this one does: it is begun again then."""
        for _ in range(TRIES):
            self.marks.append(secrets.token_hex(8))
            done = subprocess.run(
                [sys.executable, "-m", "ray.scripts.scripts", "start", *ALWAYS, *arguments,
                 f"--dashboard-agent-listen-port={free_port()}"],
                env=os.environ | self._variables(), capture_output=True, text=True, timeout=600,
            )  # fmt: skip
            if done.returncode == 0:
                return
            self.kill(-1)
        raise AssertionError(done.stdout + done.stderr)

    def _variables(self) -> dict[str, str]:
        sources = [*ROOT.glob("packages/*/src"), *ROOT.glob("plugins/*/src"), Path(__file__).parent]
        return {
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token, NODE: self.marks[-1],
            "RAY_USAGE_STATS_ENABLED": "0", "RAY_enable_metrics_collection": "0",
            "PYTHONPATH": os.pathsep.join(map(str, sources)),
            "STUB_SECONDS": "0.01",  # slow enough that a machine dies before it is done
            "CAMELID_PLUGINS": "executor-contract==1=camelid_core.plugin_kit.contract_tasks stub-engine==1=stub_engine",
        }  # fmt: skip


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    made = Cluster(Path(tempfile.mkdtemp(prefix="ray", dir="/tmp")))  # short: sockets lie below it
    try:
        made.start_head()
        made.join()
        yield made
    finally:
        made.stop()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAMELID_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def store(home: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> JobStore:
    """The jobs of a home whose executor `ray` is set to the cluster."""
    monkeypatch.setenv("CAMELID_RAY_ADDRESS", cluster.address)
    monkeypatch.setenv("CAMELID_RAY_TOKEN", cluster.token)
    return JobStore(home / "jobs.sqlite3", backoff=(0.2, 0.2, 0.2))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
