"""Advice: what a person can type after a job has ended without a result.

Knows job states and kinds of errors. Knows nothing of terminals or pages.
"""

from __future__ import annotations

from pathlib import Path

from camelid_core.paths import home as default_home

from .job import Job, JobState
from .resume_point import resume_hint

_RETRY_COMMAND = "`camelid jobs retry "
_ADVICE_BY_ERROR_KIND: dict[str, str] = {
    "disk_full": "Then {resume_hint}",
    "nan_loss": "Change the recipe or the data and start a new run: `camelid jobs retry {id}` would meet the same.",
    "plugin_error": "`camelid plugins doctor` says what is wrong with plugins. Install another release of it, then "
    "{resume_hint}",
}
_DEFAULT_ADVICE = "`camelid jobs logs {id}` shows what it printed; {resume_hint}"


def advice(job: Job, home: Path | None = None) -> str:
    """One sentence, or empty where nothing can be done or the job's error says it already."""
    if job.state not in (JobState.FAILED, JobState.PAUSED, JobState.CANCELLED) or _RETRY_COMMAND in job.error:
        return ""
    return _ADVICE_BY_ERROR_KIND.get(job.error_kind, _DEFAULT_ADVICE).format(
        id=job.id, resume_hint=resume_hint(home or default_home(), job.id)
    )
