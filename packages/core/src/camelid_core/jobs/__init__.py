"""The job queue: work that outlives the page or terminal that submitted it. One table, leases, and fencing tokens."""

from .job import Job, JobState
from .store import JobStore

__all__ = ["Job", "JobState", "JobStore"]
