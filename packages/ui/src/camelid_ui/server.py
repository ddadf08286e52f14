"""The pages as a web server: Gradio mounted beside a few routes of our own, all behind the guard.

Knows routes and limits. Knows nothing of what the pages do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from itertools import chain
from typing import Any

import gradio as gr
import uvicorn
from camelid_core import staging
from camelid_core.errors import CamelidError
from camelid_core.notifications.delivery import Notifier
from camelid_serve.http.asgi import App
from camelid_serve.http.server import uvicorn_config
from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from .access_profile import Profile
from .app import browser_translations, build_app
from .guarded_blocks import mark_launched
from .job_routes import job_routes
from .security import connection_limits, refusal_response
from .services import Services
from .session_state import limit_session_state
from .theme import head, stylesheet, theme


def build_server(services: Services) -> FastAPI:
    """The FastAPI app with routes and pages, without the guard."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        services.jobs.wake()
        with Notifier(services.jobs.store) if services.profile.allow_changes else nullcontext():
            yield
        services.chat.close()

    app = FastAPI(title="Camelid", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)

    @app.get("/health")
    def health() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @app.get("/download/predictions/{job_id}")
    def predictions(job_id: int) -> Response:
        """The predictions of a job as JSON Lines: named by job number, never by path, and streamed."""
        try:
            lines = services.predictions.lines(job_id)
            first = next(lines, b"")
        except CamelidError as error:
            return PlainTextResponse(str(error), status_code=404)
        name = f'attachment; filename="predictions-{job_id}.jsonl"'
        rows = chain([first], lines)
        return StreamingResponse(rows, media_type="application/x-ndjson", headers={"content-disposition": name})

    @app.get("/download/runs/{job_id}")
    def run(job_id: int) -> Response:
        """The files needed to reproduce a run; small, for it holds no weights and no data."""
        with staging.scratch("camelid-bundle") as directory:
            try:
                packed = services.training.bundle(job_id, directory)
            except CamelidError as error:
                return PlainTextResponse(str(error), status_code=404)
            name = f'attachment; filename="{packed.name}"'
            return Response(packed.read_bytes(), media_type="application/zip", headers={"content-disposition": name})

    app.include_router(job_routes(services))
    pages = build_app(services)
    gr.mount_gradio_app(app, pages, path="/", **_mount_options(services))
    mark_launched(pages)
    limit_session_state(app.routes[-1].app, pages)  # type: ignore[attr-defined]  # what was mounted
    return app


def uvicorn_for(app: App, profile: Profile, forwarded: bool = False) -> uvicorn.Server:
    """A uvicorn server for guarded pages; `forwarded` where a reverse proxy is in front."""
    config = uvicorn_config(
        app, connection_limits(profile, forwarded), refusal_response, timeout_keep_alive=5, timeout_graceful_shutdown=3
    )
    return uvicorn.Server(config)


def _mount_options(services: Services) -> dict[str, Any]:
    return {
        "allowed_paths": [],
        "max_file_size": services.profile.max_upload_bytes,
        "show_error": False,
        "ssr_mode": False,
        "enable_monitoring": False,
        "footer_links": [],
        "run_history": False,
        "i18n": browser_translations(),
        "theme": theme(),
        "css": stylesheet(),
        "head": head(),
    }
