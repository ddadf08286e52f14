"""When a job may begin, as a person writes it: `22:00`, `+2h`, `2026-12-01T06:30`.

Knows clocks. Knows no jobs.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from camelid_core.errors import UsageError

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def start_time(text: str, now: datetime | None = None) -> float:
    """The Unix time that `text` means: a time of day, which is the next one; a while from now; a date with time.

    Raises:
        UsageError: it is none of these, or has passed.
    """
    now = now or datetime.now().astimezone()
    if after := re.fullmatch(r"\+(\d{1,4})([mhd])", text):
        return (now + timedelta(**{_UNITS[after[2]]: int(after[1])})).timestamp()
    try:
        if re.fullmatch(r"\d{1,2}:\d{2}", text):
            hour, minute = map(int, text.split(":"))
            time = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
            return (time if time > now else time + timedelta(days=1)).timestamp()
        given = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is no time; write 22:00 (the next one), +2h (also m, d) or 2026-12-01T06:30."
        ) from None
    given = given if given.tzinfo else given.replace(tzinfo=now.tzinfo)
    if given <= now:
        raise UsageError(f"{text!r} has passed; write a later time, or none.")
    return given.timestamp()
