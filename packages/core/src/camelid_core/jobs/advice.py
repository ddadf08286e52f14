"""What a person can type when a job waits or has ended without a result.

Knows states and kinds of errors. Knows nothing of terminals or pages.
"""

from __future__ import annotations

from pathlib import Path

from camelid_core.paths import home as default_home

from .job import Job, State
from .resume_point import going_on

_SAID = "`camelid jobs retry "
_HELPS: dict[str, str] = {
    "disk_full": "Then {going_on}",
    "nan_loss": "Change the recipe or the data and start a new run: `camelid jobs retry {id}` would meet the same.",
}
_ELSE = "`camelid jobs logs {id}` shows what it printed; {going_on}"


def advice(job: Job, home: Path | None = None) -> str:
    """One sentence, or nothing where there is nothing to do or its error says it already."""
    if job.state not in (State.FAILED, State.PAUSED, State.CANCELLED) or _SAID in job.error:
        return ""
    return _HELPS.get(job.error_kind, _ELSE).format(id=job.id, going_on=going_on(home or default_home(), job.id))
