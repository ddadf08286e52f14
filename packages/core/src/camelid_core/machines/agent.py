"""The agent: what runs on another machine, leases jobs from a server, and runs each as a job of this machine.

Knows the order of steps. The attempt itself is the ordinary worker's, in a home of its own, with its watchdog, stop
requests and kills. What the server hears of it is what this machine's own table says.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from camelid_core.errors import CamelidError, JobError, StaleAttempt
from camelid_core.file_permissions import make_private_directory
from camelid_core.jobs.attempt_result import AttemptResult, Outcome
from camelid_core.jobs.executors import Executor, LocalExecutor
from camelid_core.jobs.groups import PEER_LOST, as_node_end
from camelid_core.jobs.job import Job, JobState
from camelid_core.jobs.lease import JobLease
from camelid_core.jobs.rendezvous import MEET_SECONDS, NodeAddress, RollCall, await_cause, meet
from camelid_core.jobs.stop_signals import StopSignal
from camelid_core.jobs.store import JobStore
from camelid_core.jobs.supervision import SAVE_SECONDS
from camelid_core.jobs.worker import Worker, on_node
from camelid_core.paths import home
from camelid_core.plugins import Host, load_host
from camelid_core.tasks import Interrupted

from .attempt_upload import AttemptUpload
from .content_store import ContentStore
from .file_hashes import FileHashes
from .job_home import JOINED, JobHome, sweep
from .join_address import JoinAddress, ServerUnreachable
from .own_description import describe_this_machine
from .protocol import FileContent, job_from
from .relocation import relocate
from .remote_store import RemoteStore, persistently

_IDLE_SECONDS = 1.0
_AWAY_SECONDS = 5.0
_TICK_SECONDS = 0.2
_HEARTBEAT_SECONDS = 2.0
_CONTENTS_BYTES = 50_000_000_000
Say = Callable[[str], object]


class Agent:
    """Runs one job of the server at a time. `home` is this machine's; `say` gets a sentence on each job.

    Raises:
        MachineRefused: the server does not let this machine in.
    """

    def __init__(
        self,
        store: RemoteStore,
        home: Path,
        host: Host,
        say: Say,
        executor: Executor | None = None,
        save_seconds: float = SAVE_SECONDS,
    ) -> None:
        self._store = store
        self._home = home
        self._host = host
        self._say = say
        self._executor = executor or LocalExecutor()
        self._save_seconds = save_seconds
        welcome = store.hello()
        self.name = welcome.machine
        self._lease_seconds = welcome.lease_seconds
        self._server = make_private_directory(home / JOINED / welcome.server, home)
        self._contents = ContentStore(self._server / "contents", FileHashes())
        sweep(self._server)

    def close(self) -> None:
        self._store.close()

    def run_forever(self, stop: StopSignal) -> None:
        """Work until `stop`; the running job then saves and goes to another worker. A server that is away
        is awaited."""
        away = ""
        while not stop:
            try:
                idle = self.run_once(stop) is None
                away = ""
            except ServerUnreachable as error:
                if not away:
                    self._say(f"{error} Trying again until it does.")
                away, idle = str(error), True
            if idle:
                _pause(_AWAY_SECONDS if away else _IDLE_SECONDS, stop)

    def run_once(self, stop: StopSignal) -> Job | None:
        """Run the server's next job, if there is one for this machine; the job as it is afterwards, as far as known."""
        job = self._store.claim(NodeAddress.own())
        if job is None:
            return None
        self._say(f"{job.title} begins.")
        with JobLease(self._store, job, _HEARTBEAT_SECONDS) as lease:
            try:
                ended = self._run(job, lease, stop)
            except StaleAttempt:
                self._say(f"Job {job.id} was given to another worker, or the server was away too long; it was ended.")
                return job
        self._contents.prune(_CONTENTS_BYTES)
        self._say(f"{ended.title} {ended.state}. {ended.published or ended.error}".rstrip())
        return ended

    def _run(self, job: Job, lease: JobLease, stop: StopSignal) -> Job:
        try:
            return self._run_in_home(job, lease, stop)
        except (StaleAttempt, ServerUnreachable) as error:
            raise StaleAttempt(str(error)) from None
        except Interrupted:  # before it began
            return self._give_up(job, lease)
        except Exception as error:  # it ends the job, not the agent
            if not isinstance(error, CamelidError):
                traceback.print_exc()
            failed = AttemptResult.from_exception(error)
            state = JobState.PAUSED if failed.how == Outcome.DISK_FULL else JobState.FAILED
            message = f"On machine {self.name}: {failed.message}"
            return persistently(lambda: self._store.finish(job, state, message, failed.kind, {}), lease.is_lost)

    def _run_in_home(self, job: Job, lease: JobLease, stop: StopSignal) -> Job:
        if job.task not in self._host.tasks:
            raise JobError(f"there is no task {job.task!r} on this machine; install the plugin that has it.")
        inputs = persistently(lambda: self._store.inputs(job), lease.is_lost)
        home = JobHome(self._server, job, inputs, self._home)
        with home.prepared(partial(self._fetch, job, lease, stop)):
            table = home.store(self._host.tasks[job.task])
            executor = self._executor_for(job, lease, stop)
            persistently(lambda: self._store.start(job, "agent"), lease.is_lost)
            with AttemptUpload(self._store, job, home.attempt, home.gone) as upload:
                ended = self._attempt(table, executor, lease, stop)
                if lease.lost:
                    raise StaleAttempt(f"Job {job.id} was given to another worker.")
                upload.complete(lease.is_lost)
                told = self._tell(job, ended, home, upload, lease)
        if told.state not in (JobState.QUEUED, JobState.LOST):
            home.remove()
        return told

    def _fetch(self, job: Job, lease: JobLease, stop: StopSignal, content: FileContent, candidates: list[Path]) -> Path:
        """A file that the job reads. Raises Interrupted where the job or this agent was asked meanwhile to stop."""

        def check() -> None:
            if lease.lost:
                raise StaleAttempt(f"Job {job.id} was given to another worker.")
            if stop or lease.job.request in ("cancel", "pause"):
                raise Interrupted

        def checked(chunks: Iterator[bytes]) -> Iterator[bytes]:
            for chunk in chunks:
                check()
                yield chunk

        @contextmanager
        def download(offset: int) -> Iterator[Iterator[bytes]]:
            with self._store.content(job, content.sha256, offset) as chunks:
                yield checked(chunks)

        check()
        return persistently(lambda: self._contents.fetch(content, candidates, download), lease.is_lost)

    def _executor_for(self, job: Job, lease: JobLease, stop: StopSignal) -> Executor:
        """What runs the attempt. Raises Interrupted where it was asked to stop while it waited for the other nodes."""
        if not job.in_group:
            return self._executor
        rendezvous = meet(_Patient(self._store, lease), lease, stop, MEET_SECONDS)
        if rendezvous is None:
            raise Interrupted
        return on_node(self._executor, rendezvous)

    def _give_up(self, job: Job, lease: JobLease) -> Job:
        """End a job that had not begun, as was requested; else give it back."""
        state = {"cancel": JobState.CANCELLED, "pause": JobState.PAUSED}.get(lease.job.request)
        if state is None:
            return persistently(lambda: self._store.release(job), lease.is_lost)
        message = f"{state.capitalize()} before it began."
        return persistently(lambda: self._store.finish(job, state, message, str(state), {}), lease.is_lost)

    def _attempt(self, table: JobStore, executor: Executor, lease: JobLease, stop: StopSignal) -> Job:
        """Run the attempt as a job of this machine: its row at the end."""
        job = lease.job
        worker = Worker(
            table,
            lambda _: executor,
            lease_seconds=self._lease_seconds,
            save_seconds=self._save_seconds,
            tries_again=False,  # the server counts
        )
        claimed = table.claim(worker.name, self._lease_seconds, only=job.id)
        if claimed is None:
            raise JobError(f"job {job.id} is run by another agent on this machine.")
        over, stopping = threading.Event(), StopSignal()
        passing = threading.Thread(target=_pass_on, args=(table, job.id, lease, stop, stopping, over), daemon=True)
        passing.start()
        try:
            return worker.run_claimed(claimed, stopping)
        finally:
            over.set()
            passing.join()

    def _tell(self, job: Job, ended: Job, home: JobHome, upload: AttemptUpload, lease: JobLease) -> Job:
        """Tell the server how the attempt ended."""
        lost = lease.is_lost
        if job.in_group:
            if ended.error_kind == PEER_LOST:
                await_cause(lease)
            ended = as_node_end(job, ended)
        error, summary = home.paths.there(ended.error), home.paths.there(dict(ended.summary))
        if ended.state == JobState.SUCCEEDED and ended.published and not job.leader:
            output = Path(ended.published)
            relocate(output, home.paths)
            answer = upload.publish(output, summary, lost)
            return job_from(answer.job or {})
        if ended.state == JobState.QUEUED:
            return persistently(lambda: self._store.release(job), lost)
        if ended.state == JobState.LOST:
            return persistently(lambda: self._store.mark_lost(job), lost)
        return persistently(lambda: self._store.finish(job, ended.state, error, ended.error_kind, summary), lost)


class _Patient:
    """Asks again while the server is away, for as long as a lease allows."""

    def __init__(self, store: RemoteStore, lease: JobLease) -> None:
        self._store = store
        self._lease = lease

    def roll_call(self, job: Job) -> RollCall:
        return persistently(lambda: self._store.roll_call(job), self._lease.is_lost)

    def release(self, job: Job, wait_seconds: float, why: str) -> Job:
        return persistently(lambda: self._store.release(job, wait_seconds, why), self._lease.is_lost)


def _pass_on(
    table: JobStore, job_id: int, lease: JobLease, stop: StopSignal, stopping: StopSignal, over: threading.Event
) -> None:
    """Pass on what is requested on the server, and that this machine stops; a lost lease ends the attempt at once."""
    requested = ""
    while not over.wait(_TICK_SECONDS):
        while not stopping.immediate and (lease.lost or stop.immediate):
            stopping()
        if stop and not stopping:
            stopping()
        request = lease.job.request
        if request and request != requested:
            with suppress(JobError):  # it has ended meanwhile
                table.request(job_id, request)
                requested = request


def _pause(seconds: float, stop: StopSignal) -> None:
    until = time.monotonic() + seconds
    while not stop and time.monotonic() < until:
        time.sleep(_TICK_SECONDS)


def join_server(address: JoinAddress, token: str, say: Say, stop: StopSignal, wait: bool = True) -> Agent:
    """An agent of this machine, to be closed; with `wait` as soon as the server answers, if that is before `stop`.

    Raises:
        MachineRefused: the server does not let this machine in, or not with its version.
        ServerUnreachable: it does not answer.
        JobError: it has another certificate.
    """
    host, machine_home = load_host(), make_private_directory(home())
    describe = describe_this_machine(machine_home, host.tasks.names())
    said = False
    while True:
        try:
            agent = Agent(RemoteStore(address, token, describe), machine_home, host, say)
            say(f"Joined {address.url} as {agent.name!r}. Ctrl-C lets the running job save.")
            return agent
        except ServerUnreachable as error:
            if not wait or stop:
                raise
            if not said:
                say(f"{error} Trying again until it does.")
                said = True
        _pause(_AWAY_SECONDS, stop)
