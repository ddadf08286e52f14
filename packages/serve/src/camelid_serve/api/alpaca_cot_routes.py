"""The three routes of Alpaca-CoT's `web.py`, answered by the first model.

Knows their JSON and their settings. There is no beam search here: decoding is greedy.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from .engine_response import EngineRequest, EngineResponse
from .errors import ApiError
from .request_limits import chat
from .schemas import ChatMessage, ChatRequest, StrictModel
from .state import ServerState
from .strict_json import StrictRoute

router = APIRouter(route_class=StrictRoute, tags=["Alpaca-CoT"])
_LONGEST = 512


class Prompt(StrictModel):
    """A prompt to answer."""

    prompt: Annotated[str, Field(min_length=1)]
    """The instruction."""


class _QueryFormat:
    def __init__(self, query: str) -> None:
        self._query = query

    def full_response(self, done: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        return {"query": self._query, "answer": done["rows"][0]["answer"], "time": seconds}

    def chunks(self, event: Mapping[str, Any]) -> list[Any]:
        return []


class _PromptFormat(_QueryFormat):
    def full_response(self, done: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        return {"response": done["rows"][0]["answer"], "status": 200, "time": now}


@router.get("/", summary="Say hello")
async def hello() -> JSONResponse:
    return JSONResponse({"Hello": "World"})


@router.get("/query/{query:path}", summary="Answer a question in the address", response_class=Response)
async def query(query: str, request: Request) -> Response:
    return _reply(request, query, _QueryFormat(query))


@router.post("/", summary="Answer a prompt", response_class=Response)
async def prompt(wanted: Prompt, request: Request) -> Response:
    return _reply(request, wanted.prompt, _PromptFormat(wanted.prompt))


def _reply(request: Request, text: str, form: _QueryFormat) -> EngineResponse:
    state: ServerState = request.app.state.serving
    if not text:
        raise ApiError(400, "ask something: /query/YOUR QUESTION.", "invalid_value", "query")
    message = ChatMessage.model_construct(role="user", content=text)
    longest = min(_LONGEST, state.limits.max_tokens)
    wanted = ChatRequest.model_construct(messages=[message], temperature=0.0, top_p=1.0, top_k=0, max_tokens=longest)
    engine_request = chat(state, wanted)
    return EngineResponse(state, EngineRequest(engine_request.request, 1, engine_request.characters, "query", form))
