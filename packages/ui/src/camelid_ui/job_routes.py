"""Routes beside the pages that are about jobs: a log as it grows, what has ended, and numbers for a monitor.

Knows paths and JSON. Everything else is `services.jobs`.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from typing import Annotated

from camelid_core.errors import CamelidError
from camelid_core.job_metrics import job_metrics
from camelid_core.prometheus_text import CONTENT_TYPE
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from .i18n import Translator, translator_for
from .services import Services
from .services.jobs import JobView

_MOST_BYTES = 1 << 50
_MOST_ENDS = 20


def job_routes(services: Services) -> APIRouter:
    router = APIRouter()

    @router.get("/jobs/{job_id}/log")
    def log(
        job_id: int,
        attempt: Annotated[int, Query(ge=0, le=_MOST_BYTES)] = 0,
        start: Annotated[int, Query(ge=0, le=_MOST_BYTES)] = 0,
    ) -> Response:
        """What the newest attempt printed after byte `start`, if `attempt` is that attempt; else the end of its log."""
        try:
            part = services.jobs.log_part(job_id, attempt, start)
        except CamelidError as error:
            return PlainTextResponse(str(error), status_code=404)
        return JSONResponse(asdict(part), headers={"cache-control": "no-store"})

    @router.get("/jobs/ended")
    def ended(request: Request, since: str = "") -> Response:
        """Jobs that ended after a Unix time, in words for a notification; none where no time is given."""
        now, last = time.time(), _time(since)
        found = [] if last is None else services.jobs.ended_since(last)[:_MOST_ENDS]
        say = translator_for(request)
        return JSONResponse(
            {"now": f"{now:.3f}", "jobs": [_notification(view, say) for view in found]},
            headers={"cache-control": "no-store"},
        )

    @router.get("/metrics")
    def metrics() -> Response:
        """Numbers for a monitor, in Prometheus' text format."""
        try:
            text = job_metrics(services.jobs.store)
        except CamelidError as error:
            return PlainTextResponse(str(error), status_code=503)
        return PlainTextResponse(text, headers={"content-type": CONTENT_TYPE, "cache-control": "no-store"})

    return router


def _time(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _notification(view: JobView, say: Translator) -> dict[str, object]:
    title = f"{view.job.label}: {say(f'state.{view.job.state}').lower()}"
    return {"id": view.job.id, "title": title, "body": view.job.error.partition("\n")[0]}
