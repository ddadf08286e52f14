"""Long work that outlives the page or terminal that asked for it: one table, leases, and fenced attempts."""

from .job import Job, JobState
from .store import JobStore

__all__ = ["Job", "JobState", "JobStore"]
