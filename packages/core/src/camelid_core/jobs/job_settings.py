"""What the owner of a home directory allows its jobs: `jobs.toml` there. Without the file, everything.

Knows the file. Knows nothing of jobs.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import Field

from camelid_core.config import Config, validate
from camelid_core.errors import ConfigError

FILE = "jobs.toml"
AGE = r"^[0-9]{1,5}[hd]$"
"""How an age is written: 30d, or 12h."""


class Limits(Config):
    """How many jobs there may be at a time."""

    queued: int | None = Field(None, ge=1)
    """Jobs that wait or run, at most; one more is refused."""
    running: int | None = Field(None, ge=1)
    """Jobs that run, at most; others wait."""


class Retention(Config):
    """Which ended jobs a worker deletes when it has nothing to do, with their logs and checkpoints. Never results."""

    older_than: str | None = Field(None, pattern=AGE)
    """Those that ended so long ago: 30d, or 12h."""
    keep_last: int | None = Field(None, ge=0)
    """All but this many of the newest."""


class JobSettings(Config):
    """Limits for all jobs together and for those of each user, and how long ended ones are kept."""

    limits: Limits = Limits()
    per_user: Limits = Limits()
    retention: Retention = Retention()


def job_settings(home: Path) -> JobSettings:
    """The settings of a home directory.

    Raises:
        ConfigError: the file cannot be read, or says something that it may not.
    """
    path = home / FILE
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return JobSettings()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{str(path)!r} cannot be read: {error}. Correct it, or move it away.") from None
    return validate(JobSettings, values, str(path))
