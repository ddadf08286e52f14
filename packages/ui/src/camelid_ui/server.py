"""The pages as a web server: Gradio mounted beside our own few routes, all behind the guard.

Knows routes and limits. Knows nothing of what the pages do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import gradio as gr
from camelid_core.errors import CamelidError
from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from .app import build_app, i18n
from .security import Guard
from .services import Services
from .theme import head, stylesheet, theme

MAX_UPLOAD = "200mb"


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
        """By number, never by path."""
        try:
            lines = services.predictions.lines(job_id)
        except CamelidError as error:
            return PlainTextResponse(str(error), status_code=404)
        name = f'attachment; filename="predictions-{job_id}.jsonl"'
        return Response(lines, media_type="application/x-ndjson", headers={"content-disposition": name})

    mounted: FastAPI = gr.mount_gradio_app(
        app,
        build_app(services),
        path="/",
        allowed_paths=[],
        max_file_size=MAX_UPLOAD,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        footer_links=[],
        run_history=False,
        i18n=i18n(),
        theme=theme(),
        css=stylesheet(),
        head=head(),
    )
    return mounted


def guarded(app: Any, token: str, hosts: frozenset[str], port: int) -> Guard:
    return Guard(app, token, hosts, port)
