"""Errors as OpenAI's clients read them: one JSON form on every path, whatever went wrong.

Knows status codes and sentences. Never repeats what a client sent, save a field's name.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from camelid_serve.http.asgi import Refusal

log = logging.getLogger("camelid.api")

_ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large", 415: "unsupported_media_type"}
_UNION_TEXTS = {
    "prompt": "a text, a list of token ids, or a list of texts or of lists of token ids, and not empty",
    "stop": "a text of at most 256 characters, or a list of at most 16",
    "content": "a text, or a list of parts of type text",
}
_UNION_BRANCHES = {"str", "int", "float", "bool", "none", "constrained-str", "constrained-int"}


class ApiError(HTTPException):
    """An error response with the field that it is about (`param`) and an error code for programs (`code`)."""

    def __init__(
        self, status: int, message: str, code: str = "", param: str | None = None, retry_after: float | None = None
    ) -> None:
        headers = {"retry-after": str(max(1, round(retry_after)))} if retry_after is not None else None
        super().__init__(status, message, headers)
        self.code = code or _CODES.get(status, "invalid_request" if status < 500 else "unavailable")
        self.param = param

    @property
    def body(self) -> dict[str, Any]:
        kind = (
            "server_error" if self.status_code >= 500 else _ERROR_TYPES.get(self.status_code, "invalid_request_error")
        )
        error = {"message": printable(self.detail, 2000), "type": kind, "param": self.param, "code": self.code}
        return {"error": error}

    def response(self) -> Response:
        return Response(json_bytes(self.body), self.status_code, self.headers, "application/json")


def refusal_response(refusal: Refusal) -> Response:
    """The response to a request that was refused before it reached a route, in the same form."""
    return ApiError(refusal.status, refusal.message, refusal.code, retry_after=refusal.retry_after).response()


def json_bytes(value: Any) -> bytes:
    """JSON in ASCII: no text a model may come up with can break it."""
    return json.dumps(value, separators=(",", ":")).encode()


def printable(text: str, longest: int = 64) -> str:
    """Cut to `longest` characters, and free of lone surrogates."""
    return text[:longest].encode("utf-8", "replace").decode()


def install_error_handlers(app: FastAPI) -> None:
    """Handlers that give every error of `app` the one form."""
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _failed)


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, ApiError):
        return error.response()
    assert isinstance(error, HTTPException)
    status = error.status_code
    message = {
        404: f"there is no {printable(request.url.path)!r} here.",
        405: f"{printable(request.url.path)!r} takes no {printable(request.method)}.",
    }.get(status, HTTPStatus(status).phrase)
    refusal = ApiError(status, message)
    refusal.headers = error.headers
    return refusal.response()


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return invalid(error.errors()[0]).response()


async def _failed(_: Request, error: Exception) -> Response:
    number = secrets.token_hex(4)
    log.error("error %s", number, exc_info=error)
    return ApiError(500, f"the server failed; its log says why under {number}.", "internal_error").response()


def invalid(detail: Mapping[str, Any]) -> ApiError:
    """One of pydantic's validation errors as a sentence. The value that was sent is not repeated."""
    place = [part for part in detail["loc"] if isinstance(part, int) or _is_field(part)]
    param = ".".join(str(part) for part in place[1:])
    kind = detail["type"]
    if not param:
        return ApiError(400, "the request must be a JSON object with fields.")
    if kind == "extra_forbidden":
        return ApiError(400, f"{printable(param)!r} is no field of this request.", "unknown_field", printable(param))
    if kind == "missing":
        return ApiError(400, f"{param!r} is missing.", "missing_field", param)
    wanted = _UNION_TEXTS.get(str(place[-1])) if len(place) < len(detail["loc"]) else None
    why = f"must be {wanted}" if wanted else f"does not fit: {detail['msg']}"
    return ApiError(400, f"{printable(param)!r} {why}.", "invalid_value", printable(param))


def _is_field(part: str) -> bool:
    """Pydantic also names the branch of a union it tried."""
    return not (part in _UNION_BRANCHES or any(mark in part for mark in "[(-")) or part[:1].isdigit()
