"""The executor `ray`: an attempt runs as a Ray job, and its pieces as Ray tasks.

Knows what of an attempt Ray is told, and how Ray's words for the end of a job become exit codes. The attempt itself is
the ordinary one; what it and the worker say to each other goes through its directory (`detached_order`). Nothing is
pickled: the entry point is a command, and pieces are called by name.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camelid_core.errors import UsageError
from camelid_core.file_permissions import open_private
from camelid_core.integrity import write_durably
from camelid_core.jobs.attempt_result import AttemptResult, ExitCode
from camelid_core.jobs.detached_handle import DetachedHandle, can_attach, end_detached, may_run
from camelid_core.jobs.detached_order import DetachedOrder, detached_mark
from camelid_core.jobs.job import Job
from camelid_core.jobs.pieces import Piece, Tick
from camelid_core.jobs.process_identity import ProcessIdentity
from camelid_core.jobs.run_directories import LOG
from camelid_core.json_files import object_in
from camelid_core.subprocesses import module_command

from .settings import SETTINGS, RaySettings

if TYPE_CHECKING:
    from .jobs_api import JobsApi

_SUBMISSION = "ray.json"
_KILLED = 137


class RayExecutor:
    """Attempts as Ray jobs. `module` is what `python -m` runs for an attempt; tests pass one with their own tasks."""

    name = "ray"

    def __init__(self, module: str = "camelid_core.jobs.attempt") -> None:
        self._module = module

    def start(self, job: Job, directory: Path) -> DetachedHandle:
        """Submit the attempt.

        Raises:
            ClusterUnreachable: the cluster does not answer.
            UsageError: it asks for no token, or does not take ours.
        """
        from .jobs_api import JobsApi

        settings = SETTINGS.load()
        api = JobsApi(settings)
        api.check_access()
        mark = detached_mark()
        DetachedOrder(job, mark, self._module).write(directory)
        submission = f"camelid-{job.id}-{job.epoch}-{mark[:8]}"
        where = {"address": api.address, "submission": submission}
        write_durably(directory / _SUBMISSION, json.dumps(where).encode(), private=True)  # first: it can be found then
        handle = DetachedHandle(RayJob(api, submission), directory, settings.silence_seconds)
        handle.beat()
        api.submit(_request(settings, job, directory, submission))
        with open_private(directory / LOG, "ab") as log:
            log.write(f"Submitted to Ray at {api.address} as {submission}.\n".encode())
        return handle

    def attach(self, job: Job, directory: Path) -> DetachedHandle | None:
        """Raises ClusterUnreachable: whether it runs is not known."""
        try:
            found = _submitted(directory)
            if found is None or not can_attach(found, directory):
                return None
        except UsageError:
            return None  # of a cluster that is not ours any more; it will leave by itself
        handle = DetachedHandle(found, directory, SETTINGS.load().silence_seconds)
        handle.beat()
        return handle

    def kill_leftovers(self, directory: Path) -> None:
        """One of a cluster that may not be asked any more leaves by itself: nobody watches it."""
        try:
            found = _submitted(directory)
        except UsageError:
            found = None
        if found is not None:
            end_detached(found, directory, may_run(directory))
        elif (identity := ProcessIdentity.read(directory)) is not None:
            identity.kill()

    def run_pieces(
        self, pieces: Sequence[Piece], directory: Path, tick: Tick, apart: bool = False
    ) -> dict[str, AttemptResult]:
        from .ray_tasks import run

        return run(SETTINGS.load(), pieces, directory, tick, apart)


class RayJob:
    """A `ClusterJob` of Ray."""

    def __init__(self, api: JobsApi, submission: str) -> None:
        self._api = api
        self._submission = submission

    @property
    def identity(self) -> str:
        return f"Ray job {self._submission} at {self._api.address}"

    def exit_code(self) -> int | None:
        found = self._api.job(self._submission)
        status = found and found.get("status")
        if found is None:
            return ExitCode.FENCED  # its head was started anew and knows of nothing
        if status in ("PENDING", "RUNNING"):
            return None
        if status == "SUCCEEDED":
            return ExitCode.DONE
        if status == "STOPPED":
            return _KILLED
        code = found.get("driver_exit_code")
        return code if isinstance(code, int) and code else ExitCode.FENCED  # no code: its machine is gone

    def end(self) -> None:
        self._api.stop(self._submission)


def _submitted(directory: Path) -> RayJob | None:
    """The Ray job of an attempt, at the cluster to which it was submitted."""
    found = object_in(directory / _SUBMISSION)
    address, submission = found.get("address"), found.get("submission")
    if not isinstance(address, str) or not isinstance(submission, str):
        return None
    from .jobs_api import JobsApi

    return RayJob(JobsApi(SETTINGS.load().model_copy(update={"address": address})), submission)


def _request(settings: RaySettings, job: Job, directory: Path, submission: str) -> dict[str, Any]:
    command = module_command("camelid_core.jobs.detached", str(directory), python=settings.python)
    processes = _processes(job.config)
    return {
        "entrypoint": shlex.join(command),
        "submission_id": submission,
        "metadata": {"camelid_job": str(job.id), "camelid_task": job.task},
        "entrypoint_num_cpus": settings.cpus * processes,
        "entrypoint_num_gpus": settings.gpus * processes,
    }


def _processes(config: Mapping[str, Any]) -> int:
    """Processes that compute in the attempt itself: none where its pieces do, which take the cores and cards then."""
    launch = config.get("launch")
    values = {"nodes": 1, "shards": 1} | (dict(launch) if isinstance(launch, Mapping) else {})
    if values["nodes"] > 1:
        return 0
    return int(values["processes"]) if "processes" in values else int(values["shards"] == 1)
