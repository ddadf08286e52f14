"""How many jobs may wait, of all and of each user; and whose jobs they are.

Knows the limits and counts rows. Knows nothing of machines.
"""

from __future__ import annotations

import os
import pwd
import sqlite3

from camelid_core.errors import JobError

from .job_settings import FILE, JobSettings

_UNENDED = "SELECT count(*) FROM job WHERE leader = 0 AND state IN ('queued', 'claimed', 'running', 'lost')"


def system_user() -> str:
    """The name of the user this process belongs to, as the system knows it; the number where it has no name."""
    number = os.geteuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def refuse_more(db: sqlite3.Connection, settings: JobSettings, user: str) -> None:
    """Raises JobError: as many jobs wait or run as the settings allow, of all or of this user."""
    everyone, own = settings.limits.queued, settings.per_user.queued
    if everyone is not None:
        _refuse(db.execute(_UNENDED).fetchone()[0], everyone, "", "limits")
    if own is not None:
        _refuse(db.execute(f"{_UNENDED} AND user = ?", (user,)).fetchone()[0], own, f" of user {user!r}", "per_user")


def _refuse(found: int, most: int, whose: str, section: str) -> None:
    if found >= most:
        raise JobError(
            f"{found} jobs{whose} wait or run, and {FILE} in the home directory allows {most} ([{section}] queued). "
            "Wait until one has ended (`camelid jobs list`), or cancel one."
        )
