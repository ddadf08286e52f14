"""The job table of a server, as an agent sees it: the verbs that a worker uses, over HTTPS.

Knows requests and refusals. Knows nothing of what jobs do. Any thread may call; the token is in a header of every
request and nowhere else.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx

from camelid_core.errors import DiskFull, JobError, StaleAttempt
from camelid_core.jobs.clock import Clock
from camelid_core.jobs.job import Job, JobState
from camelid_core.jobs.rendezvous import NodeAddress, Rendezvous, RollCall

from .join_address import JoinAddress, ServerUnreachable
from .protocol import (
    PIECE_BYTES,
    PROTOCOL,
    Answer,
    Beat,
    Claim,
    End,
    FileContent,
    Hello,
    JobInputs,
    Reached,
    Refused,
    Release,
    Result,
    Start,
    State,
    Welcome,
    job_from,
    own_version,
    parse,
)

_MAX_ANSWER = 64 << 20
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 3.0
_VERIFY_SECONDS, _VERIFIED_BYTES_PER_SECOND = 30.0, 20e6
"""How long a server may take to read a file again: longer, and the answer was lost."""
_LONG_SECONDS = 600.0
"""For what takes the server long: hashing a model, verifying a result."""
_DESCRIBE_SECONDS = 10.0
ResultT = TypeVar("ResultT")
Describe = Callable[[], dict[str, Any]]


class MachineRefused(JobError):
    """The server does not let this machine in, or not with its version."""


class PieceRefused(JobError):
    """The server has the file up to byte `have`."""

    def __init__(self, have: int) -> None:
        super().__init__(f"the file goes on at byte {have:,}.")
        self.have = have


class RemoteStore:
    """One server's jobs. `describe` says what this machine is like now.

    Raises:
        ServerUnreachable: of every method; nothing is known of whether it happened, and all may be asked again.
        StaleAttempt: of every method that takes a job, once another attempt holds it.
        MachineRefused: of every method.
    """

    def __init__(self, address: JoinAddress, token: str, describe: Describe) -> None:
        self.address = address
        self.session = secrets.token_hex(8)
        self.clock = Clock()
        self._describe = describe
        self._described = 0.0
        self._seen: dict[int, Job] = {}
        self._seconds = httpx.Timeout(10.0)
        self._client = httpx.Client(
            base_url=address.url,
            verify=address.tls(),
            headers={"authorization": f"Bearer {token}", "user-agent": f"camelid/{own_version()}"},
            timeout=self._seconds,
            trust_env=False,  # a proxy could not show the server's certificate
            limits=httpx.Limits(max_connections=8),
        )

    def close(self) -> None:
        self._client.close()

    def hello(self) -> Welcome:
        """Who this server is. From then on no request waits for an answer longer than a lease allows."""
        message = Hello(protocol=PROTOCOL, version=own_version(), machine=self._describe())
        welcome: Welcome = parse(Welcome, self._send("POST", "/v1/hello", message))
        self._seconds = httpx.Timeout(max(1.0, min(10.0, welcome.lease_seconds / 4)))
        return welcome

    def claim(self, address: NodeAddress | None = None) -> Job | None:
        """`address` is where other machines reach this one; without it it gets no node of a group."""
        reached = None
        if address is not None:
            reached = Reached(host=address.host, port=address.port, network=address.network)
        claim = Claim(session=self.session, machine=self._describe(), reached=reached)
        return self._job(self._send("POST", "/v1/claim", claim))

    def roll_call(self, job: Job) -> RollCall:
        """As that of a `JobStore`."""
        answer: Answer = parse(Answer, self._send("POST", f"{_path(job)}/roll-call"))
        where = answer.rendezvous
        return RollCall(answer.absent, None if where is None else Rendezvous(**where.model_dump()))

    def start(self, job: Job, process: str = "") -> Job:
        return self._verb(job, "start", Start(process=process[:200]))

    def heartbeat(self, job: Job) -> Job:
        """Renew the lease; now and then with a description of this machine."""
        now = time.monotonic()
        fresh = now - self._described > _DESCRIBE_SECONDS
        if fresh:
            self._described = now
        return self._verb(job, "heartbeat", Beat(machine=self._describe() if fresh else None))

    def get(self, job_id: int) -> Job:
        """The job as the server last had it; nothing is asked."""
        if job_id not in self._seen:
            raise JobError(f"job {job_id} is none of this machine's.")
        return self._seen[job_id]

    def finish(self, job: Job, state: JobState, error: str, error_kind: str, summary: dict[str, Any]) -> Job:
        end = End(state=state, error=error[-20_000:], error_kind=error_kind[:200], summary=summary)
        return self._verb(job, "finish", end)

    def release(self, job: Job, wait_seconds: float = 0.0, why: str = "") -> Job:
        return self._verb(job, "release", Release(wait_seconds=wait_seconds, why=why))

    def mark_lost(self, job: Job) -> Job:
        return self._verb(job, "lost")

    def publish(self, job: Job, result: Result) -> Answer:
        """The job as it is then, or which contents must be sent first."""
        answer = self._send("POST", f"{_path(job)}/publish", result, seconds=_LONG_SECONDS)
        return parse(Answer, answer)  # type: ignore[no-any-return]

    def keep(self, job: Job, state: State) -> list[str]:
        """Have the server keep this of the attempt; which contents must be sent first."""
        answer: Answer = parse(Answer, self._send("POST", f"{_path(job)}/state", state, seconds=_LONG_SECONDS))
        return answer.missing

    def inputs(self, job: Job) -> JobInputs:
        answer = self._send("GET", f"{_path(job)}/inputs", seconds=_LONG_SECONDS)
        return parse(JobInputs, answer)  # type: ignore[no-any-return]

    def append(self, job: Job, name: str, offset: int, data: bytes) -> None:
        """Raises PieceRefused: bytes before these are missing there."""
        self._send("PUT", f"{_path(job)}/streams", data, {"path": name, "offset": offset})

    def send_content(self, job: Job, path: Path, content: FileContent, between: Callable[[], object]) -> None:
        """Send a file by its content, from where the server has it on; `between` is called after each piece.

        Raises:
            OSError: the file is gone or cannot be read.
            DiskFull: the server has no space for it.
        """
        offset = 0
        with path.open("rb") as file:
            while True:
                file.seek(offset)
                piece = file.read(PIECE_BYTES)
                try:
                    values = {"offset": offset, "size": content.size}
                    last = offset + len(piece) >= content.size  # it verifies the whole; an answer may be lost
                    seconds = _VERIFY_SECONDS + content.size / _VERIFIED_BYTES_PER_SECOND if last else 0.0
                    self._send("PUT", f"{_path(job)}/pieces/{content.sha256}", piece, values, seconds)
                    offset += len(piece)
                except PieceRefused as refused:
                    if refused.have == offset or refused.have > content.size:
                        raise
                    offset = refused.have
                    continue
                between()
                if offset >= content.size or not piece:
                    return

    @contextmanager
    def content(self, job: Job, digest: str, offset: int) -> Iterator[Iterator[bytes]]:
        """The bytes of something that the job reads, from `offset` on."""
        headers = {"range": f"bytes={offset}-", "accept-encoding": "identity"} if offset else {}
        with self._answer("GET", f"{_path(job)}/blobs/{digest}", headers=headers) as response:
            if offset and response.status_code != 206:
                raise JobError("the server sent a file from its beginning where it was to go on.")
            yield _bytes(response)

    def _verb(self, job: Job, verb: str, message: Any = None) -> Job:
        try:
            done = self._job(self._send("POST", f"{_path(job)}/{verb}", message))
        except MachineRefused as error:  # it was revoked, and the job given to others
            raise StaleAttempt(str(error)) from None
        if done is None:
            raise JobError("the server did not say what became of the job; it may be of another version.")
        return done

    def _job(self, answer: bytes) -> Job | None:
        found: Answer = parse(Answer, answer)
        if found.job is None:
            return None
        job = job_from(found.job)
        self._seen = {job.id: job}
        return job

    def _send(
        self, method: str, path: str, message: Any = None, query: dict[str, Any] | None = None, seconds: float = 0.0
    ) -> bytes:
        body = message if isinstance(message, bytes) else message.model_dump_json().encode() if message else b""
        with self._answer(method, path, content=body, params=query, seconds=seconds) as response:
            return _limited(response)

    @contextmanager
    def _answer(self, method: str, path: str, seconds: float = 0.0, **more: Any) -> Iterator[httpx.Response]:
        timeout = httpx.Timeout(self._seconds.connect, read=seconds) if seconds else self._seconds
        try:
            with self._client.stream(method, path, timeout=timeout, **more) as response:
                if response.status_code >= 300:
                    _raise(response)
                yield response
        except httpx.HTTPError as error:
            raise ServerUnreachable(f"{self.address.url} does not answer: {error or type(error).__name__}.") from None


def persistently(call: Callable[[], ResultT], over: Callable[[], bool]) -> ResultT:
    """What `call` returns, however often the server must be asked for it.

    Raises:
        StaleAttempt: it is `over`: the server was away for longer than a lease.
    """
    pause = _FIRST_PAUSE
    while True:
        try:
            return call()
        except ServerUnreachable as error:
            if over():
                raise StaleAttempt(str(error)) from None
        time.sleep(pause)
        pause = min(_LONGEST_PAUSE, pause * 2)


def _path(job: Job) -> str:
    return f"/v1/jobs/{job.id}/{job.epoch}"


def _bytes(response: httpx.Response) -> Iterator[bytes]:
    yield from response.iter_raw(1 << 20)


def _limited(response: httpx.Response) -> bytes:
    body = bytearray()
    for part in response.iter_bytes():
        body += part
        if len(body) > _MAX_ANSWER:
            raise JobError(f"the server sent more than {_MAX_ANSWER:,} bytes, which no message of it has.")
    return bytes(body)


def _raise(response: httpx.Response) -> None:
    try:
        refused: Refused = parse(Refused, _limited(response))
    except JobError:
        raise ServerUnreachable(
            f"{response.url.host} answers {response.status_code}, as no Camelid server would."
        ) from None
    errors: dict[str, Callable[[], Exception]] = {
        "stale": lambda: StaleAttempt(refused.error),
        "token": lambda: MachineRefused(refused.error),
        "version": lambda: MachineRefused(refused.error),
        "offset": lambda: PieceRefused(refused.have),
        "disk_full": lambda: DiskFull(refused.error),
        "busy": lambda: ServerUnreachable(refused.error),
    }
    raise errors.get(refused.kind, lambda: JobError(refused.error))()
