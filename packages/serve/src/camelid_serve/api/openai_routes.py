"""OpenAI's routes: models, chat completions, completions.

Knows paths. Requests are checked in `request_limits`, responses put together in `response_formats`.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from . import request_limits
from .engine_response import EngineResponse
from .errors import ApiError, printable
from .schemas import ChatRequest, CompletionRequest
from .state import ServerState
from .strict_json import StrictRoute

router = APIRouter(prefix="/v1", route_class=StrictRoute, tags=["OpenAI"])


def _state(request: Request) -> ServerState:
    state: ServerState = request.app.state.serving
    return state


@router.post("/chat/completions", summary="Answer a conversation", response_class=Response)
async def chat_completions(wanted: ChatRequest, request: Request) -> Response:
    state = _state(request)
    return EngineResponse(state, request_limits.chat(state, wanted))


@router.post("/completions", summary="Go on from a text", response_class=Response)
async def completions(wanted: CompletionRequest, request: Request) -> Response:
    state = _state(request)
    return EngineResponse(state, request_limits.completion(state, wanted))


@router.get("/models", summary="What is served")
async def models(request: Request) -> JSONResponse:
    state = _state(request)
    return JSONResponse({"object": "list", "data": [model_entry(state, label) for label in state.supervisor.wanted]})


@router.get("/models/{model:path}", summary="One of what is served")
async def model(model: str, request: Request) -> JSONResponse:
    state = _state(request)
    if model not in state.supervisor.wanted:
        raise ApiError(
            404, f"model {printable(model)!r} is not served here. See /v1/models.", "model_not_found", "model"
        )
    return JSONResponse(model_entry(state, model))


def model_entry(state: ServerState, label: str) -> dict[str, Any]:
    """A model's entry in OpenAI's list of models; while it is being loaded, little of it is known."""
    entry = {"id": label, "object": "model", "created": state.created, "owned_by": "camelid"}
    loaded = state.supervisor.models.get(label)
    if loaded is None:
        return entry | {"status": "loading"}
    return entry | {
        "status": "loaded",
        "root": loaded.base,
        "template": loaded.template,
        "max_model_len": loaded.context_length,
        "license": loaded.licence,
    }
