"""Request bodies: UTF-8 and strict JSON.

Knows bytes and JSON. Knows nothing of their content.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from email.message import Message
from typing import Any

from camelid_core import strict_json
from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from .errors import ApiError

_INLINE = 65_536
"""Larger bodies are parsed on a thread, so that others are served meanwhile."""


class StrictRequest(Request):
    """A request whose body must be strict JSON. Its size is limited by `BodyLimits`."""

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            self._body = await self._read()
        return self._body

    async def json(self) -> Any:
        body = await self.body()
        return await asyncio.to_thread(_parsed, body) if len(body) > _INLINE else _parsed(body)

    async def _read(self) -> bytes:
        _check_type(self.headers.get("content-type", ""))
        if self.headers.get("content-encoding", "identity").lower() != "identity":
            raise ApiError(415, "send JSON as it is, without Content-Encoding.")
        body = bytearray()
        try:
            async for chunk in self.stream():
                body += chunk
        except ClientDisconnect:
            raise ApiError(400, "the request ended before it was complete.", "incomplete_request") from None
        if not body:
            raise ApiError(400, "the request has no body; send JSON.", "invalid_json")
        return bytes(body)


class StrictRoute(APIRoute):
    """A route whose body is read as above."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handler(StrictRequest(request.scope, request.receive))

        return strict


def _check_type(given: str) -> None:
    message = Message()
    message["content-type"] = given.encode("ascii", "replace").decode()
    charset = str(message.get_param("charset", "utf-8")).lower().replace("_", "-")
    if message.get_content_type() != "application/json" or not given:
        raise ApiError(415, "send JSON, with the header `Content-Type: application/json`.")
    if charset not in ("utf-8", "utf8", "us-ascii"):
        raise ApiError(415, "send JSON in UTF-8.")


def _parsed(body: bytes) -> Any:
    try:
        return strict_json.loads(body.decode("utf-8"))
    except json.JSONDecodeError as error:
        raise ApiError(400, f"the body is not JSON: {error.msg} at character {error.pos}.", "invalid_json") from None
    except UnicodeDecodeError as error:
        raise ApiError(400, f"the body is not UTF-8: byte {error.start} is out of place.", "invalid_json") from None
    except RecursionError:
        raise ApiError(400, "the body is nested too deeply.", "invalid_json") from None
    except ValueError:
        raise ApiError(
            400, "the body is not JSON: a key stands twice, or a number is none that JSON has.", "invalid_json"
        ) from None
