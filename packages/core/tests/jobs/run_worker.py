"""A worker in a process of its own, to be killed: `run_worker.py HOME LEASE_SECONDS [JOBS RESOURCES]`."""

import json
import sys
from pathlib import Path

from camelid_core.jobs.executors import LocalExecutor
from camelid_core.jobs.resources import Resources
from camelid_core.jobs.stop_signals import StopSignal, stop_on_signals
from camelid_core.jobs.store import JobStore
from camelid_core.jobs.worker import Worker

store = JobStore(Path(sys.argv[1]) / "jobs.sqlite3", backoff=(0.2, 0.2, 0.2))
lease = float(sys.argv[2])
executor = LocalExecutor("ticking")
jobs, machine = 1, None
if sys.argv[3:]:
    jobs, machine = int(sys.argv[3]) or None, Resources.from_json(json.loads(sys.argv[4]))
with stop_on_signals(StopSignal()) as stop:
    Worker(
        store, lambda job: executor, lease_seconds=lease, heartbeat_seconds=lease / 6, jobs=jobs, machine=machine
    ).run_forever(stop)
