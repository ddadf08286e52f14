"""The pages as a web server: Gradio mounted beside our own few routes, all behind the guard.

Knows routes and limits. Knows nothing of what the pages do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError
from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from .app import build_app, i18n
from .security import Guard
from .services import Services
from .theme import head, stylesheet, theme


def build_server(services: Services) -> FastAPI:
    """Routes and pages, not yet guarded."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        services.jobs.wake()
        yield
        services.chat.close()

    app = FastAPI(title="Camelid", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)

    @app.get("/health")
    def health() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @app.get("/download/predictions/{job_id}")
    def predictions(job_id: int) -> Response:
        """By number, never by path, and never whole in memory."""
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
        """All it takes to do a run again; small, for it holds no weights and no data."""
        with TemporaryDirectory() as directory:
            try:
                packed = services.training.bundle(job_id, Path(directory))
            except CamelidError as error:
                return PlainTextResponse(str(error), status_code=404)
            name = f'attachment; filename="{packed.name}"'
            return Response(packed.read_bytes(), media_type="application/zip", headers={"content-disposition": name})

    mounted: FastAPI = gr.mount_gradio_app(
        app,
        build_app(services),
        path="/",
        **looks(services),
    )
    return mounted


def looks(services: Services) -> dict[str, Any]:
    """What Gradio is told wherever it shows the pages, mounted here or by itself."""
    return {
        "allowed_paths": [],
        "max_file_size": services.profile.upload,
        "show_error": False,
        "ssr_mode": False,
        "enable_monitoring": False,
        "footer_links": [],
        "run_history": False,
        "i18n": i18n(),
        "theme": theme(),
        "css": stylesheet(),
        "head": head(),
    }


def guarded(app: Any, token: str, hosts: frozenset[str], port: int) -> Guard:
    return Guard(app, token, hosts, port)
