"""What an agent may do to a job: lease it, and while it holds it, all that a worker of this machine does.

Knows the table, fencing by epoch and machine, and publication. Knows nothing of HTTP.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from camelid_core.artefacts import verify_directory
from camelid_core.errors import CamelidError, JobError, StaleAttempt
from camelid_core.file_permissions import PRIVATE_DIRECTORY_MODE, make_private_directory
from camelid_core.jobs.admission import never_fits
from camelid_core.jobs.attempt_result import AttemptResult, Outcome
from camelid_core.jobs.database import TableUnavailable
from camelid_core.jobs.executors import LocalExecutor
from camelid_core.jobs.job import ACTIVE, ENDED, Job, JobState
from camelid_core.jobs.publication import Verify, publish, unpublished_success, wanted_place
from camelid_core.jobs.resources import Resources
from camelid_core.jobs.retry_policy import may_be_tried_again
from camelid_core.jobs.run_directories import PLACEMENT, attempt_directory
from camelid_core.jobs.store import JobStore
from camelid_core.jobs.worker import clear_earlier_attempts
from camelid_core.machines.file_hashes import FileHashes
from camelid_core.machines.job_inputs import check_destination, config_of, job_inputs, why_not_portable
from camelid_core.machines.machine import MachineDescription, describe_machine, machine_of, note_machine, owner_name
from camelid_core.machines.protocol import (
    Answer,
    Beat,
    Claim,
    End,
    JobInputs,
    NodeRendezvous,
    Release,
    Result,
    Start,
    State,
    job_values,
)
from camelid_core.plugins import Host

from .received_files import ReceivedFiles

_FINAL = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.PAUSED)
_MAX_REMEMBERED = 10_000
_NOTE_SECONDS = 4.0
Key = tuple[int, int]
KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class HeldJobs:
    """The jobs of one table, for agents. Every method may be called from any thread; all that take a machine, a job
    and an epoch raise StaleAttempt where that machine does not hold it."""

    def __init__(
        self, store: JobStore, host: Callable[[], Host], lease_seconds: float, verify: Verify = verify_directory
    ) -> None:
        self.store = store
        self.lease_seconds = lease_seconds
        self._home = store.path.parent
        self._host = host
        self._verify = verify
        self._hashes = FileHashes()
        self._lock = threading.Lock()
        self._noted: dict[str, float] = {}
        self._stays: dict[int, str] = {}
        self._contents: dict[Key, dict[str, Path]] = {}
        self._ended: dict[Key, str] = {}

    def claim(self, machine: str, claim: Claim) -> Job | None:
        """Lease the next job that may run on the machine; what the same start of its agent held before is given back.

        The request may be the second for one claim whose answer was lost.
        """
        description = describe_machine(claim.machine)
        self._note(machine, description)
        owner = owner_name(machine, claim.session)
        address = claim.reached.model_dump() if claim.reached is not None else {}
        self.store.sweep_lost()
        for held in self.store.list(ACTIVE, limit=10_000, with_members=True):
            if held.owner == owner:
                with suppress(StaleAttempt):
                    self.store.release(held)
        resources = Resources.of_joined(machine, asdict(description))
        for job in self.store.due():
            if job.task not in description.tasks or self._why_not(job) or (job.nodes > 1 and not address):
                continue
            if never_fits(job.needs, resources):
                continue
            claimed = self.store.claim(owner, self.lease_seconds, only=job.id, address=address)
            if claimed is not None and (prepared := self._prepared(claimed)) is not None:
                return prepared
        return None

    def start(self, machine: str, job_id: int, epoch: int, message: Start) -> Job:
        job = self._held(machine, job_id, epoch)
        return job if job.state == JobState.RUNNING else self.store.start(job, f"{machine}, {message.process}")

    def heartbeat(self, machine: str, job_id: int, epoch: int, message: Beat) -> Job:
        if message.machine is not None:
            self._note(machine, describe_machine(message.machine))
        return self.store.heartbeat(self._held(machine, job_id, epoch))

    def inputs(self, machine: str, job_id: int, epoch: int) -> JobInputs:
        """What the job reads; from then on the machine may have these contents, for as long as it holds the job."""
        job = self._held(machine, job_id, epoch)
        inputs, contents = job_inputs(self._home, job, self._host(), self._hashes)
        with self._lock:
            _remember(self._contents, (job_id, epoch), contents)
        return inputs

    def content(self, machine: str, job_id: int, epoch: int, digest: str) -> Path:
        """Where a content that the job reads lies. Raises JobError: it reads no such content."""
        self._held(machine, job_id, epoch)
        if (job_id, epoch) not in self._contents:  # this server was started anew meanwhile
            self.inputs(machine, job_id, epoch)
        path = self._contents[job_id, epoch].get(digest)
        if path is None:
            raise JobError(f"job {job_id} reads nothing with SHA-256 {digest}.")
        return path

    def received(self, machine: str, job_id: int, epoch: int) -> ReceivedFiles:
        self._held(machine, job_id, epoch)
        return self._received(job_id, epoch)

    def keep(self, machine: str, job_id: int, epoch: int, message: State) -> Answer:
        return Answer(missing=self.received(machine, job_id, epoch).keep(message))

    def finish(self, machine: str, job_id: int, epoch: int, message: End) -> Job:
        if (ended := self._ended_before(machine, job_id, epoch)) is not None:
            return ended
        if message.state not in _FINAL:
            raise JobError(f"an attempt does not end as {message.state}.")
        job = self._held(machine, job_id, epoch)
        whole = self.store.get(job.leader) if job.leader else job
        if message.state == JobState.FAILED and may_be_tried_again(whole, message.error_kind):
            return self.store.try_again(job, message.error, message.error_kind)
        if job.state == JobState.CLAIMED and message.state == JobState.SUCCEEDED:
            job = self.store.start(job)
        return self._note_end(machine, self.store.finish(
            job, message.state, error=message.error, error_kind=message.error_kind, summary=message.summary
        ))  # fmt: skip

    def release(self, machine: str, job_id: int, epoch: int, message: Release) -> Job:
        return self.store.release(self._held(machine, job_id, epoch), message.wait_seconds, message.why)

    def roll_call(self, machine: str, job_id: int, epoch: int) -> Answer:
        """The machine has all that its node of a group needs: where the nodes meet, once all have."""
        call = self.store.roll_call(self._held(machine, job_id, epoch))
        where = None if call.rendezvous is None else NodeRendezvous(**asdict(call.rendezvous))
        return Answer(absent=call.missing, rendezvous=where)

    def lose(self, machine: str, job_id: int, epoch: int) -> Job:
        return self.store.mark_lost(self._held(machine, job_id, epoch))

    def publish(self, machine: str, job_id: int, epoch: int, message: Result) -> Answer:
        """Verify the result against its manifest and publish it, once all of its contents are here.

        What is wrong with it, or with the place it goes to, is the job's error.
        """
        if (ended := self._ended_before(machine, job_id, epoch)) is not None:
            return Answer(job=job_values(ended))
        job = self._held(machine, job_id, epoch)
        if job.leader:
            raise JobError(f"Node {job.rank} of job {job.leader} publishes nothing: node 0 does.")
        received, attempt = self._received(job_id, epoch), attempt_directory(self._home, job_id, epoch)
        try:
            placed = (attempt / PLACEMENT).exists()  # before this server was killed
            if not placed and (missing := received.output(message.files)):
                return Answer(missing=missing)
            target = wanted_place(config_of(job, self._host()))
            result = AttemptResult(
                Outcome.SUCCEEDED, summary=message.summary, publish_to=str(target) if target else None
            )
            result.write(attempt)
            done = publish(self.store, job, attempt, result, self._verify)
        except (StaleAttempt, TableUnavailable):
            raise
        except CamelidError as error:
            done = self._fail(job, error)
        received.clear()
        return Answer(job=job_values(self._note_end(machine, done)))

    def _note(self, machine: str, description: MachineDescription) -> None:
        """Idle agents ask every second, and the table need not be written to as often."""
        now = time.monotonic()
        with self._lock:
            if now - self._noted.get(machine, -_NOTE_SECONDS) < _NOTE_SECONDS:
                return
            _remember(self._noted, machine, now)
        note_machine(self.store, machine, description)

    def _why_not(self, job: Job) -> str:
        if job.id not in self._stays:
            reason = why_not_portable(job, self._host())
            if reason:
                sys.stderr.write(f"camelid machines: job {job.id} waits for `camelid worker` here: {reason}.\n")
            with self._lock:
                _remember(self._stays, job.id, reason)
        return self._stays[job.id]

    def _prepared(self, job: Job) -> Job | None:
        """The claimed job with its directory, ready for an agent; None if it could be ended here and now."""
        attempt = attempt_directory(self._home, job.id, job.epoch)
        try:
            clear_earlier_attempts(attempt, LocalExecutor(), only_records=bool(job.leader))
            if not job.leader and (success := unpublished_success(self._home, job.id)) is not None:
                publish(self.store, self.store.start(job), *success, self._verify)
                return None
            if not job.leader:
                check_destination(job, self._host())
            make_private_directory(attempt.parent, self._home)
            attempt.mkdir(PRIVATE_DIRECTORY_MODE)
        except (StaleAttempt, TableUnavailable):
            raise
        except (CamelidError, OSError) as error:
            self._fail(job, error)
            return None
        return job

    def _fail(self, job: Job, error: Exception) -> Job:
        failed = AttemptResult.from_exception(error)
        state = JobState.PAUSED if failed.how == Outcome.DISK_FULL else JobState.FAILED
        return self.store.finish(job, state, error=failed.message, error_kind=failed.kind)

    def _held(self, machine: str, job_id: int, epoch: int) -> Job:
        stale = StaleAttempt(f"Attempt {epoch} of job {job_id} does not hold the job any more.")
        try:
            job = self.store.get(job_id)
        except TableUnavailable:
            raise
        except JobError:  # it was deleted
            raise stale from None
        if job.epoch != epoch or job.state not in ACTIVE or machine_of(job.owner) != machine:
            raise stale
        return job

    def _received(self, job_id: int, epoch: int) -> ReceivedFiles:
        return ReceivedFiles(attempt_directory(self._home, job_id, epoch), self._hashes)

    def _note_end(self, machine: str, job: Job) -> Job:
        with self._lock:
            _remember(self._ended, (job.id, job.epoch), machine)
            self._contents.pop((job.id, job.epoch), None)
        return job

    def _ended_before(self, machine: str, job_id: int, epoch: int) -> Job | None:
        """The job, if this machine has ended this attempt: the answer did not reach it, and it asks again."""
        if self._ended.get((job_id, epoch)) != machine:
            return None
        job = self.store.get(job_id)
        return job if job.epoch == epoch and job.state in ENDED else None


def _remember(known: dict[KeyT, ValueT], key: KeyT, value: ValueT) -> None:
    while len(known) >= _MAX_REMEMBERED:
        known.pop(next(iter(known)))
    known[key] = value
