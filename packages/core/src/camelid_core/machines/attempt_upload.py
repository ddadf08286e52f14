"""Sends what an attempt writes to the server: lines as they come, checkpoints when complete, the result at the end.

Knows the attempt's directory and which of its files travel. Knows nothing of what they mean. What is sent again does
no harm, and a network that is away for a while only delays it.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from camelid_core import staging
from camelid_core.errors import DiskFull, JobError, StaleAttempt
from camelid_core.file_permissions import PRIVATE_DIRECTORY_MODE
from camelid_core.jobs.job import Job

from .attempt_files import grows, is_kept
from .file_hashes import FileHashes, files_below
from .join_address import ServerUnreachable
from .protocol import PIECE_BYTES, Answer, FileContent, Result, State
from .remote_store import PieceRefused, RemoteStore, persistently

_TICK_SECONDS = 0.5
_STATE_SECONDS = 2.0
_STREAM_BYTES = 1 << 20
_ROUNDS = 5
"""So often may the server ask for more, as where it was started anew meanwhile."""


class AttemptUpload:
    """One attempt's files, sent by a thread while entered; `gone` says what was deleted of earlier attempts."""

    def __init__(self, store: RemoteStore, job: Job, attempt: Path, gone: Callable[[], list[str]]) -> None:
        self._store = store
        self._job = job
        self._attempt = attempt
        self._gone = gone
        self._hashes = FileHashes()
        self._sent: dict[str, int] = {}
        self._kept: State | None = None
        self._state_at = 0.0
        self._complaint = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send_until_over, name=f"upload of job {job.id}", daemon=True)

    def __enter__(self) -> AttemptUpload:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def complete(self, lost: Callable[[], bool]) -> None:
        """Send all that is there, after the attempt's end.

        Raises:
            StaleAttempt: another attempt holds the job, or the server is away for longer than a lease.
        """
        self._over.set()
        self._thread.join()
        persistently(self._send_streams, lost)
        try:
            persistently(self._send_state, lost)
        except StaleAttempt:
            raise
        except (JobError, DiskFull, OSError) as error:
            self._complain(error)

    def publish(self, output: Path, summary: Mapping[str, object], lost: Callable[[], bool]) -> Answer:
        """Send the result and have it published: the job as it is then.

        Raises:
            StaleAttempt: as above.
            DiskFull: the server has no space for it.
            JobError: the server cannot take it.
        """
        files = self._hashes.listing(output)
        result = Result(files=files, summary=dict(summary))
        for _ in range(_ROUNDS):
            answer = persistently(lambda: self._store.publish(self._job, result), lost)
            if not answer.missing:
                return answer
            for digest in answer.missing:
                persistently(lambda digest=digest: self._send_content(output, files, digest), lost)  # type: ignore[misc]
        raise JobError("the server asks for the same files again and again; see its log.")

    def _send_until_over(self) -> None:
        while not self._over.wait(_TICK_SECONDS):
            try:
                self._send_streams()
                if time.monotonic() - self._state_at >= _STATE_SECONDS:
                    self._send_state()
                    self._state_at = time.monotonic()
            except ServerUnreachable:
                continue  # the lease decides when that is too long
            except StaleAttempt:
                return
            except (JobError, DiskFull, OSError) as error:
                self._complain(error)
                self._state_at = time.monotonic()

    def _complain(self, error: Exception) -> None:
        """The job goes on: only what another attempt would resume from is older than it could be."""
        if str(error) != self._complaint:
            self._complaint = str(error)
            sys.stderr.write(f"camelid worker: job {self._job.id}: its state did not reach the server: {error}\n")

    def _send_streams(self) -> None:
        for path in files_below(self._attempt):
            name = path.relative_to(self._attempt).as_posix()
            if grows(name):
                self._send_stream(name, path)

    def _send_stream(self, name: str, path: Path) -> None:
        try:
            with path.open("rb") as file:
                size = path.stat().st_size
                if size < self._sent.get(name, 0):
                    self._sent[name] = 0  # it was cut meanwhile, as logs that grow too large are
                while (offset := self._sent.get(name, -1)) < size:
                    offset = max(0, offset)  # a file that is empty is sent, too
                    file.seek(offset)
                    data = file.read(_STREAM_BYTES)
                    if not data and size:
                        return
                    self._append(name, offset, data)
        except FileNotFoundError:
            return

    def _append(self, name: str, offset: int, data: bytes) -> None:
        try:
            self._store.append(self._job, name, offset, data)
            self._sent[name] = offset + len(data)
        except PieceRefused as refused:
            self._sent[name] = refused.have

    def _send_state(self) -> None:
        """All that is kept, as it is at one moment: the task goes on writing and deleting meanwhile."""
        with staging.directory(self._attempt.parent / "sending", PRIVATE_DIRECTORY_MODE) as moment:
            _link_files(self._attempt, moment)
            state = State(files=self._hashes.listing(moment, is_kept), gone=self._gone())
            if state == self._kept:
                return
            for _ in range(_ROUNDS):
                missing = self._store.keep(self._job, state)
                if not missing:
                    self._kept = state
                    return
                for digest in missing:
                    self._send_content(moment, state.files, digest)

    def _send_content(self, top: Path, files: Mapping[str, FileContent], digest: str) -> None:
        name = next((name for name, content in files.items() if content.sha256 == digest), None)
        if name is None:
            raise JobError(f"the server asks for something that was not announced: {digest}.")
        self._store.send_content(self._job, top / name, files[name], self._send_streams)


def _link_files(top: Path, into: Path) -> None:
    """Files are replaced or deleted, and not written to once they are complete: a link keeps what they were."""
    for path in files_below(top):
        name = path.relative_to(top)
        if is_kept(name.as_posix()):
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                os.link(path, into / name)


assert _STREAM_BYTES <= PIECE_BYTES
