"""The HTTP client of one server: JSON values, and answers as streams of chunks. Every failure is a sentence.

Knows status codes, lines of a stream, retries and keys. Knows nothing of engines. Used in one event loop; an answer is
cancelled by closing its connection, on which servers stop generating.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

import httpx
from camelid_core.errors import ModelError
from camelid_core.server_address import is_loopback

from .keys import redact
from .wire_formats import CompletionChunk, MalformedAnswer, TokenOf, WireFormat

_CONNECT_SECONDS = 10.0
_READ_SECONDS = 300.0
"""Longest wait for the next chunk: prefill of a long prompt on a slow machine takes minutes."""
_BUSY_SECONDS = 120.0
"""Longest that a request waits for a server that says it is busy."""
_MAX_LINE_BYTES = 16_000_000
_MAX_MESSAGE = 300
_BUSY = (429, 503)


class ServerAddress(Protocol):
    """A server's address: it may change with a restart, and there is none any more when it is not `alive`."""

    @property
    def alive(self) -> bool: ...

    async def url(self) -> str:
        """Raises ModelError where there is none (any more)."""


class Refused(ModelError):
    """The server refuses the request itself (status 400, 404, 413 or 422)."""


class Upstream:
    """`key` is sent to the server and appears nowhere else."""

    def __init__(self, address: ServerAddress, key: str, connections: int, loopback: bool) -> None:
        self._address = address
        self._key = key
        self._client = httpx.AsyncClient(
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS, pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=connections),
            trust_env=not loopback,  # no proxy between programs on one machine
        )

    @property
    def alive(self) -> bool:
        return self._address.alive

    async def close(self) -> None:
        await self._client.aclose()

    async def get(self, path: str) -> Any:
        """A JSON value; None where the server has no such path.

        Raises:
            ModelError: it cannot be reached, refuses, or does not send JSON.
        """
        url = await self._address.url()
        try:
            response = await self._client.get(url + path)
            if response.status_code in (404, 405):
                return None
            if response.status_code != 200:
                raise self._error(url, response.status_code, response.content)
            return response.json()
        except httpx.HTTPError as error:
            raise self._unreachable(url, error) from None
        except ValueError:
            raise ModelError(f"the server at {url} answers {path} with something that is no JSON.") from None

    async def post(self, path: str, body: Mapping[str, Any]) -> None:
        """Post a JSON body.

        Raises:
            ModelError: the server cannot be reached, or its status is not 200.
        """
        url = await self._address.url()
        try:
            response = await self._client.post(url + path, json=body)
        except httpx.HTTPError as error:
            raise self._unreachable(url, error) from None
        if response.status_code != 200:
            raise self._error(url, response.status_code, response.content)

    async def answer(
        self, wire_format: WireFormat, body: Mapping[str, Any], token_of: TokenOf
    ) -> AsyncGenerator[CompletionChunk, None]:
        """Chunks as they come, the last with a `finish`. A busy server is asked again after a while.

        Raises:
            Refused: the request itself is at fault.
            ModelError: everything else.
        """
        until = time.monotonic() + _BUSY_SECONDS
        for turn in range(1 << 10):
            url = await self._address.url()
            try:
                async with self._client.stream("POST", url + wire_format.path, json=body) as response:
                    if response.status_code == 200:
                        async with aclosing(_json_values(response)) as values:
                            async for value in values:
                                yield self._parse(url, wire_format, value, token_of)
                        return
                    message = await response.aread()
            except httpx.HTTPError as error:
                raise self._unreachable(url, error) from None
            except (MalformedAnswer, json.JSONDecodeError, UnicodeDecodeError) as error:
                raise ModelError(
                    f"the server at {url} sends what is no completion: {self._printable(error)}."
                ) from None
            pause = _retry_after(response, turn)
            if response.status_code not in _BUSY or time.monotonic() + pause > until:
                raise self._error(url, response.status_code, message)
            await asyncio.sleep(pause)

    def _parse(self, url: str, wire_format: WireFormat, value: Any, token_of: TokenOf) -> CompletionChunk:
        if isinstance(value, dict) and value.get("error"):
            raise ModelError(f"the server at {url} gave up in the middle of an answer: {self._server_message(value)}")
        try:
            return wire_format.parse_chunk(value, token_of)
        except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
            raise MalformedAnswer(error if isinstance(error, MalformedAnswer) else repr(value)[:_MAX_MESSAGE]) from None

    def _error(self, url: str, status: int, body: bytes) -> ModelError:
        message = self._server_message(_json_or_text(body))
        if status == 401 or status == 403:
            asks = "does not take this key" if self._key else "asks for a key"
            return ModelError(f"the server at {url} {asks}; set CAMELID_ENGINE_KEY, or key_file=FILE with the key.")
        if status in _BUSY:
            return ModelError(
                f"the server at {url} is busy ({status}): {message} Ask again later, or with fewer at once."
            )
        if status in (400, 404, 413, 422):
            return Refused(f"the server at {url} refuses this ({status}): {message}")
        return ModelError(f"the server at {url} failed ({status}): {message}")

    def _server_message(self, value: Any) -> str:
        """The server's own error message, wherever it puts it."""
        for name in ("error", "message", "detail"):
            if isinstance(value, dict) and value.get(name):
                value = value[name]
        text = value if isinstance(value, str) else json.dumps(value) if value else ""
        return self._printable(text) or "it does not say why."

    def _printable(self, text: object) -> str:
        line = " ".join(str(text).split())
        return redact(self._key, line if len(line) <= _MAX_MESSAGE else f"{line[:_MAX_MESSAGE]} …")

    def _unreachable(self, url: str, error: httpx.HTTPError) -> ModelError:
        reasons = {
            httpx.ConnectTimeout: "it does not take connections",
            httpx.ConnectError: "nothing listens there, or it cannot be reached",
            httpx.ReadTimeout: f"it said nothing for {_READ_SECONDS:.0f} s",
            httpx.RemoteProtocolError: "it closed the connection in the middle of an answer",
            httpx.ReadError: "the connection broke in the middle of an answer",
        }
        why = next((text for kind, text in reasons.items() if isinstance(error, kind)), self._printable(error))
        return ModelError(f"no answer from the server at {url}: {why}. Is it running, and is the address right?")


async def _json_values(response: httpx.Response) -> AsyncGenerator[Any, None]:
    """JSON values of a stream, one a line, with or without `data:` before it. Lines end at LF alone: httpx's own lines
    also end at characters that may stand within a text."""
    rest = bytearray()
    async for chunk in response.aiter_bytes():
        rest += chunk
        *lines, tail = rest.split(b"\n")
        rest = bytearray(tail)
        if len(rest) > _MAX_LINE_BYTES:
            raise MalformedAnswer("a line without an end")
        for line in lines:
            value = _line_value(bytes(line))
            if value is not None:
                yield value
    value = _line_value(bytes(rest))
    if value is not None:
        yield value


def _line_value(line: bytes) -> Any:
    line = line.strip()
    text = line.removeprefix(b"data:").removeprefix(b"error:").strip()
    if not text or line.startswith((b":", b"event:", b"id:", b"retry:")) or text == b"[DONE]":
        return None
    return json.loads(text)


def _json_or_text(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")


def _retry_after(response: httpx.Response, turn: int) -> float:
    """Seconds until the next try: the server's Retry-After, else exponential backoff."""
    retry_after = response.headers.get("retry-after", "")
    try:
        if retry_after.strip().isdecimal():
            return float(retry_after)
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, TypeError):
        return float(min(30.0, 0.5 * 2 ** min(turn, 6)))


class FixedAddress:
    """An address that never changes."""

    alive = True

    def __init__(self, url: str) -> None:
        self._url = url

    async def url(self) -> str:
        return self._url


def on_loopback(url: str) -> bool:
    return is_loopback(httpx.URL(url).host)
