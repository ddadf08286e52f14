"""Runs a program and ends it, with its own children, when the parent that holds our stdin is gone.

    python child_guard.py PROGRAM ARGUMENT…

Knows processes and the standard library alone, so that it starts at once. It leads the process group that it ends.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

_GRACE_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1


_parent_gone = threading.Event()


def main() -> int:
    ours = os.getpid()
    program = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, preexec_fn=lambda: _die_with(ours))
    threading.Thread(target=_watch, args=(program,), daemon=True).start()
    code = program.wait()
    if _parent_gone.is_set():
        signal_group(signal.SIGKILL)  # workers that outlived the program, and us
    return code if code >= 0 else 128 - code


def _watch(program: "subprocess.Popen[bytes]") -> None:
    """Until stdin ends; nothing is ever written there."""
    while os.read(0, 4096):
        pass
    _parent_gone.set()
    signal_group(signal.SIGTERM)
    until = time.monotonic() + _GRACE_SECONDS
    while program.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    signal_group(signal.SIGKILL)


def signal_group(number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(0, number)


def _die_with(parent: int) -> None:
    """If this guard alone is killed, the kernel ends the program (on Linux)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: None)  # we send it to our group, and outlive it
    sys.exit(main())
