"""A notification on the desktop of whoever typed the command, by the program that the system has for it.

Knows two programs. Text is passed as arguments, never as code.
"""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress

from camelid_core.errors import UsageError

_SCRIPT = "display notification (item 2 of argv) with title (item 1 of argv)"
_PROGRAMS = {
    "notify-send": ("--app-name=Camelid", "--"),
    "osascript": ("-e", "on run argv", "-e", _SCRIPT, "-e", "end run", "--"),
}
_SECONDS = 5.0


def check_desktop() -> str:
    """The program that is there. Raises UsageError: there is none."""
    found = next((path for name in _PROGRAMS if (path := shutil.which(name))), None)
    if found is None:
        raise UsageError(
            "there is no notify-send (of libnotify) here, which shows notifications; leave out --desktop, or let the "
            "Jobs page notify you."
        )
    return found


def notify_desktop(title: str, text: str) -> None:
    """Where it cannot be shown, as without a desktop, nothing happens: the command said it already."""
    program = check_desktop()
    options = _PROGRAMS[program.rpartition("/")[2]]
    with suppress(OSError, subprocess.SubprocessError):
        subprocess.run([program, *options, title, text], timeout=_SECONDS, check=False, capture_output=True)
