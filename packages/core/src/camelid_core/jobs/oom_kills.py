"""How often the kernel's OOM killer ended a process: its control group (cgroup, version 1 or 2) counts them, and the
system does.

Knows Linux's files. Knows nothing of jobs.
"""

from __future__ import annotations

from pathlib import Path

from camelid_core.models.devices import cgroup_files

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_SYSTEM = Path("/proc/vmstat")


def count_oom_kills(own: Path = _OWN, root: Path = _ROOT, system: Path = _SYSTEM) -> int:
    """How many processes of this control group the OOM killer ended so far; where it does not count, how many of the
    whole system; 0 where nothing does."""
    for path in (*cgroup_files("memory.events", "memory.oom_control", root, own)[:1], system):
        count = _oom_kills(path)
        if count is not None:
            return count
    return 0


def _oom_kills(path: Path) -> int | None:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    except (OSError, StopIteration, ValueError, IndexError):
        return None
