"""The clocks that jobs are timed by: a monotonic one for leases, wall-clock time for people.

Leases run on time since boot, which includes suspend and ignores every change of the wall clock; a
reboot voids them. Knows nothing of jobs.
"""

from __future__ import annotations

import time
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", None)


def boot_id() -> str:
    """Differs after every start of the machine."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        import psutil

        return f"{psutil.boot_time():.0f}"


class Clock:
    """The machine's clocks; tests pass a fake."""

    def now(self) -> float:
        """Seconds since boot."""
        return time.monotonic() if _SINCE_BOOT is None else time.clock_gettime(_SINCE_BOOT)

    def boot(self) -> str:
        return boot_id()

    def wall(self) -> float:
        return time.time()
