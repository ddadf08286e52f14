"""What a machine's agent and the server say to each other: messages, bounds, and which versions fit.

    POST /v1/hello                            who is there, and whether the versions fit
    POST /v1/claim                            lease a job
    POST /v1/jobs/JOB/EPOCH/start             also: heartbeat, finish, release, lost, publish, state
    GET  /v1/jobs/JOB/EPOCH/inputs            what the job reads, by content
    GET  /v1/jobs/JOB/EPOCH/blobs/SHA256      one of these files, from any byte on (Range)
    PUT  /v1/jobs/JOB/EPOCH/streams?path=&offset=           the next bytes of a file that grows
    PUT  /v1/jobs/JOB/EPOCH/pieces/SHA256?offset=&size=     the next bytes of a file that is complete

Every request shows the machine's token. Knows JSON. Knows nothing of sockets, tables or files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from camelid_core.errors import JobError
from camelid_core.jobs.job import Job, JobState

PROTOCOL = 1
PIECE_BYTES = 4 << 20
"""Most bytes of a file in one request."""
MESSAGE_BYTES = 8 << 20
"""Most bytes of a message: of 20,000 files with their hashes."""
MAX_FILES = 20_000
MAX_FILE_BYTES = 1 << 40
SPARE_DISK_BYTES = 256 << 20
"""What stays free on either side's disk, so that jobs can still say how they ended."""

RefusalKind = Literal["stale", "token", "version", "offset", "disk_full", "busy", "refused"]
"""stale: the job was given to another attempt. token: this machine is not let in. offset: the file goes on elsewhere.
busy: the same again, a little later.
refused: nothing of that kind, or not for this machine."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
WirePath = Annotated[str, StringConstraints(min_length=1, max_length=1000)]


class FileContent(_Message):
    size: int = Field(ge=0, le=MAX_FILE_BYTES)
    sha256: Digest


Listing = Annotated[dict[WirePath, FileContent], Field(max_length=MAX_FILES)]
"""Files below some directory by their relative path."""


class Hello(_Message):
    """`machine` is a `MachineDescription`."""

    protocol: int
    version: str = Field(max_length=50)
    machine: dict[str, Any]


class Welcome(_Message):
    """`server` names the server's jobs, whatever its address; `machine` is the name that the token belongs to."""

    server: str = Field(pattern=r"^[0-9a-f]{32}$")
    machine: str
    lease_seconds: float


class Claim(_Message):
    """`session` is one start of an agent, which holds one job at a time: what it held before, it holds no more."""

    session: str = Field(pattern=r"^[0-9a-f]{16}$")
    machine: dict[str, Any]


class Beat(_Message):
    machine: dict[str, Any] | None = None


class Start(_Message):
    process: str = Field("", max_length=200)


class End(_Message):
    """An attempt's end without a result to publish."""

    state: JobState
    error: str = Field("", max_length=20_000)
    error_kind: str = Field("", max_length=200)
    summary: dict[str, Any] = {}


class State(_Message):
    """All that the attempt keeps to be resumed from, and what it deleted of earlier attempts: `EPOCH/path`."""

    files: Listing
    gone: list[WirePath] = Field([], max_length=MAX_FILES)


class Result(_Message):
    """The attempt's output, to be verified and published."""

    files: Listing
    summary: dict[str, Any] = {}


class InputTree(_Message):
    """What lies at `source` on the server and belongs to `place` below the job's home. A file is a tree of itself."""

    place: WirePath
    source: str
    files: Listing


class JobInputs(_Message):
    """`home` is the server's; `earlier` what attempts before this one kept, by their epoch."""

    home: str
    trees: list[InputTree]
    earlier: dict[int, Listing]


class Answer(_Message):
    """`job` is the row afterwards; `missing` which contents must be sent first."""

    job: dict[str, Any] | None = None
    missing: list[str] = []


class Refused(_Message):
    """`have` is where a file goes on."""

    error: str
    kind: RefusalKind = "refused"
    have: int = 0


def parse(cls: type[Any], data: bytes | str) -> Any:
    """A message of that class.

    Raises:
        JobError: it is none.
    """
    try:
        return cls.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise JobError(f"this is no {cls.__name__} message: {where}: {first['msg']}.") from None


def job_values(job: Job) -> dict[str, Any]:
    """A job as JSON."""
    return asdict(job) | {"state": str(job.state), "depends_on": list(job.depends_on)}


def job_from(values: Mapping[str, Any]) -> Job:
    """Raises JobError: these are not the values of a job."""
    try:
        return Job(**dict(values) | {"state": JobState(values["state"]), "depends_on": tuple(values["depends_on"])})
    except (TypeError, ValueError, LookupError):
        raise JobError("the server sent something that is no job; it may be of another version.") from None


def own_version() -> str:
    try:
        return version("camelid-core")
    except PackageNotFoundError:
        return "0"


def why_versions_differ(hello: Hello, own: str = "") -> str:
    """What to do where the machine's version does not fit the server's; empty where it does."""
    own = own or own_version()
    if hello.protocol == PROTOCOL and _release(hello.version) == _release(own):
        return ""
    return (
        f"this machine has camelid-core {hello.version!r} (protocol {hello.protocol}), and the server {own!r} "
        f"(protocol {PROTOCOL}). Install the server's version there: pip install 'camelid-core=={own}'."
    )


def _release(text: str) -> str:
    """Checkpoints and recipes are the same within a minor version."""
    return ".".join(text.split(".")[:2])
