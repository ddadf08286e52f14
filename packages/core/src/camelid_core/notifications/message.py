"""What is said of a job that has ended: little, and nothing that names files or quotes data.

Knows a job's row and the address of the pages. Knows nothing of how it is sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from camelid_core.jobs.job import Job
from camelid_core.json_files import object_in

_QUOTED = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"")
_PATH = re.compile(r"(?<![\w.:/-])(?:~|[A-Za-z]:)?[/\\][^\s:;,]*")
_MAX_SENTENCE = 300


def message_of(job: Job, home: Path, page: str = "") -> dict[str, Any]:
    """The JSON object that is sent. `seconds` is how long the last attempt took; `text` says all of it in a line, as
    chat programs show it."""
    seconds = round(job.ended - job.started, 1) if job.ended and job.started else None
    error = shareable(job.error)
    after = f" after {seconds:g} s" if seconds is not None else ""
    link = job_link(job.id, home, page)
    text = f"{job.label} ({job.task}, job {job.id}): {job.state}{after}.{f' {error}' if error else ''}"
    return {
        "event": "job_ended",
        "job": job.id,
        "attempt": job.epoch,
        "label": job.label,
        "task": job.task,
        "state": str(job.state),
        "error": error,
        "error_kind": job.error_kind,
        "seconds": seconds,
        "ended": job.ended,
        "link": link,
        "text": f"{text} {link}".rstrip(),
    }


def shareable(sentence: str) -> str:
    """The first line of an error with `…` for every path and everything in quotes, which may come from the data."""
    line = sentence.partition("\n")[0]
    for pattern in (_QUOTED, _PATH):
        line = pattern.sub("…", line)
    return line if len(line) <= _MAX_SENTENCE else line[: _MAX_SENTENCE - 1] + "…"


def job_link(job_id: int, home: Path, page: str = "") -> str:
    """Where the pages show the job, without their token; empty where none run and no address was set."""
    address = page or str(object_in(home / "ui.json").get("url", ""))
    parts: Mapping[str, Any] = urlsplit(address)._asdict()
    if not parts["netloc"]:
        return ""
    return f"{parts['scheme']}://{parts['netloc']}{parts['path'].rstrip('/')}/?tab=jobs&job={job_id}"
