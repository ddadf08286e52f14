"""The routes of the door: every request shows a machine's token, and a machine reaches the jobs that it holds alone.

Knows HTTP. What a request does, `held_jobs` and `received_files` know. Nothing waits for a disk or the table in the
event loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from camelid_core.errors import CamelidError, DiskFull, StaleAttempt
from camelid_core.jobs.database import TableUnavailable
from camelid_core.jobs.job import Job
from camelid_core.machines.machine import describe_machine, machine_with_token, note_machine
from camelid_core.machines.protocol import (
    MESSAGE_BYTES,
    PIECE_BYTES,
    Answer,
    Beat,
    Claim,
    End,
    Hello,
    Refused,
    Result,
    Start,
    State,
    Welcome,
    job_values,
    parse,
    why_versions_differ,
)
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from camelid_serve.http.asgi import App, Refusal
from camelid_serve.http.body_limits import BodyLimits
from camelid_serve.http.connection import ConnectionLimits
from camelid_serve.http.guard import AccessRules, Guard

from .certificate import ServerIdentity
from .held_jobs import HeldJobs
from .received_files import WrongOffset

CONNECTIONS = ConnectionLimits(connections=256, receive_seconds=30.0, bytes_per_second=20_000)
_PREFIX = "/v1/"
_FILES = ("streams", "pieces")
_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
_NOT_LET_IN = (
    "this machine is not let in: its token is unknown or was revoked. On the server, `camelid machines add NAME` "
    "prints a new line to type here."
)
Endpoint = Callable[[Request], Awaitable[Response]]


class _NotLetIn(CamelidError):
    pass


class _VersionsDiffer(CamelidError):
    pass


class Door:
    """The application. `identity` says which server this is."""

    def __init__(self, jobs: HeldJobs, identity: ServerIdentity) -> None:
        self._jobs = jobs
        self._identity = identity

    def app(self) -> App:
        """With its guard: sizes are bounded, and no browser has any business here."""
        held = "/v1/jobs/{job:int}/{epoch:int}/"
        jobs = self._jobs
        routes = [
            Route("/v1/hello", self._endpoint(self._hello), methods=["POST"]),
            Route("/v1/claim", self._endpoint(self._claim), methods=["POST"]),
            self._verb("start", Start, jobs.start),
            self._verb("heartbeat", Beat, jobs.heartbeat),
            self._verb("finish", End, jobs.finish),
            self._verb("publish", Result, jobs.publish),
            self._verb("state", State, jobs.keep),
            self._verb("release", None, jobs.release),
            self._verb("lost", None, jobs.lose),
            Route(held + "inputs", self._endpoint(self._inputs), methods=["GET"]),
            Route(held + "blobs/{digest}", self._endpoint(self._content), methods=["GET"]),
            Route(held + "streams", self._endpoint(self._append), methods=["PUT"]),
            Route(held + "pieces/{digest}", self._endpoint(self._receive), methods=["PUT"]),
        ]
        limited = BodyLimits(Starlette(routes=routes), _body_limit, refusal_response)
        return Guard(limited, AccessRules(hosts=None), refusal_response, _HEADERS)

    def _verb(self, name: str, cls: type[BaseModel] | None, function: Callable[..., Job | Answer]) -> Route:
        def call(machine: str, request: Request, body: bytes) -> Response:
            message = [] if cls is None else [parse(cls, body or b"{}")]
            done = function(machine, request.path_params["job"], request.path_params["epoch"], *message)
            return _json(done if isinstance(done, Answer) else Answer(job=job_values(done)))

        return Route(f"/v1/jobs/{{job:int}}/{{epoch:int}}/{name}", self._endpoint(call), methods=["POST"])

    def _endpoint(self, call: Callable[[str, Request, bytes], Response]) -> Endpoint:
        """The machine is known before its body is read."""

        async def endpoint(request: Request) -> Response:
            try:
                machine = await run_in_threadpool(self._machine, request)
                body = await request.body()
                return await run_in_threadpool(call, machine, request, body)
            except ClientDisconnect:
                return Response(status_code=400)
            except CamelidError as error:
                return _refused(error)
            except OSError as error:
                return _refused_by_disk(error)

        return endpoint

    def _machine(self, request: Request) -> str:
        sent = request.headers.getlist("authorization")
        kind, _, token = (sent[0] if len(sent) == 1 else "").partition(" ")
        machine = machine_with_token(self._jobs.store, token.strip()) if kind.lower() == "bearer" else ""
        if not machine:
            raise _NotLetIn(_NOT_LET_IN)
        return machine

    def _hello(self, machine: str, _: Request, body: bytes) -> Response:
        hello = parse(Hello, body)
        if reason := why_versions_differ(hello):
            raise _VersionsDiffer(reason)
        note_machine(self._jobs.store, machine, describe_machine(hello.machine))
        return _json(
            Welcome(server=self._identity.server, machine=machine, lease_seconds=self._jobs.lease_seconds)
        )

    def _claim(self, machine: str, _: Request, body: bytes) -> Response:
        job = self._jobs.claim(machine, parse(Claim, body))
        return _json(Answer(job=None if job is None else job_values(job)))

    def _inputs(self, machine: str, request: Request, _: bytes) -> Response:
        return _json(self._jobs.inputs(machine, request.path_params["job"], request.path_params["epoch"]))

    def _content(self, machine: str, request: Request, _: bytes) -> Response:
        values = request.path_params
        path = self._jobs.content(machine, values["job"], values["epoch"], values["digest"])
        return FileResponse(path, media_type="application/octet-stream")

    def _append(self, machine: str, request: Request, body: bytes) -> Response:
        files = self._jobs.received(machine, request.path_params["job"], request.path_params["epoch"])
        files.append(request.query_params.get("path", ""), _number(request, "offset"), body)
        return _json(Answer())

    def _receive(self, machine: str, request: Request, body: bytes) -> Response:
        values = request.path_params
        digest = values["digest"]
        if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise CamelidError("a content is named by its SHA-256, 64 hexadecimal digits.")
        files = self._jobs.received(machine, values["job"], values["epoch"])
        files.receive(digest, _number(request, "offset"), _number(request, "size"), body)
        return _json(Answer())


def refusal_response(refusal: Refusal) -> Response:
    """A refusal of the guard, as those of the door itself."""
    body = Refused(error=refusal.message).model_dump_json()
    return Response(body, refusal.status, refusal.headers, media_type="application/json")


def _body_limit(method: str, path: str) -> int | None:
    if not path.startswith(_PREFIX):
        return None
    if method == "PUT":
        return PIECE_BYTES if any(f"/{name}" in path for name in _FILES) else 0
    return MESSAGE_BYTES if method == "POST" else 0


def _number(request: Request, name: str) -> int:
    text = request.query_params.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise CamelidError(f"{name} must be a number of bytes, not {text[:40]!r}.")
    return int(text)


_KINDS: tuple[tuple[type[CamelidError], int, str], ...] = (
    (StaleAttempt, 409, "stale"),
    (WrongOffset, 409, "offset"),
    (_NotLetIn, 401, "token"),
    (_VersionsDiffer, 409, "version"),
    (DiskFull, 507, "disk_full"),
    (TableUnavailable, 503, "busy"),
    (CamelidError, 400, "refused"),
)


def _refused(error: CamelidError) -> Response:
    status, kind = next((status, kind) for cls, status, kind in _KINDS if isinstance(error, cls))
    values: dict[str, Any] = {"error": str(error), "kind": kind, "have": getattr(error, "have", 0)}
    return _json(Refused(**values), status)


def _refused_by_disk(error: OSError) -> Response:
    import errno

    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    text = f"The server's disk cannot take it: {error.strerror or error}."
    return _json(Refused(error=text, kind="disk_full" if full else "busy"), 507 if full else 503)


def _json(message: BaseModel, status: int = 200) -> Response:
    return Response(message.model_dump_json(), status, media_type="application/json")
