"""Health, readiness and metrics: for people, load balancers and Prometheus.

Knows paths. Reads what other modules count.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse

from .errors import ApiError
from .state import ServerState

router = APIRouter(tags=["Status"])


@router.head("/health", include_in_schema=False)
@router.get("/health", summary="The server runs")
async def health() -> JSONResponse:
    return JSONResponse({"status": "ok"})


@router.head("/ready", include_in_schema=False)
@router.get("/ready", summary="The model answers")
async def ready(request: Request) -> JSONResponse:
    """The engine generated a token within the last 30 seconds, or does so now."""
    state: ServerState = request.app.state.serving
    if state.draining is not None:
        raise state.draining
    if not await state.supervisor.ready():
        why = state.supervisor.why or "the engine does not answer."
        raise ApiError(503, why, "not_ready", retry_after=5)
    return JSONResponse({"status": "ready"})


@router.get("/metrics", summary="Counts, in Prometheus' form", response_class=PlainTextResponse)
async def metrics(request: Request) -> PlainTextResponse:
    state: ServerState = request.app.state.serving
    return PlainTextResponse(state.metrics.text(), media_type="text/plain; version=0.0.4")
