"""The executor `slurm`: an attempt runs as a Slurm job, through submitit.

Knows what submitit is told, and what Slurm's words for the state of a job mean. The attempt itself is the ordinary one;
what it and the worker say to each other goes through its directory (`detached_order`). submitit pickles what it runs: a
function of ours by its name and a path, in the attempt's private directory; nothing that comes back is unpickled.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from camelid_core.errors import JobError, UsageError
from camelid_core.file_permissions import PRIVATE_DIRECTORY_MODE, open_private
from camelid_core.integrity import write_durably
from camelid_core.jobs.attempt_result import ExitCode
from camelid_core.jobs.detached_handle import ClusterUnreachable, DetachedHandle, can_attach, end_detached, may_run
from camelid_core.jobs.detached_order import DetachedOrder, detached_mark
from camelid_core.jobs.job import Job
from camelid_core.jobs.process_identity import ProcessIdentity, process_start_time
from camelid_core.jobs.run_directories import LOG
from camelid_core.json_files import object_in
from camelid_core.subprocesses import SAFE_PATH, python_command

from .entry import exit_code_in, run_attempt
from .settings import SETTINGS, SlurmSettings

_SUBMISSION = "slurm.json"
_FOLDER = "submitit"
_ASK_SECONDS = 20.0
_ASK_AT_END_SECONDS = 2.0
_COMMAND_SECONDS = 60.0
_KILLED = 137
_WAITS_OR_RUNS = {
    "PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "REQUEUED", "REQUEUE_HOLD", "RESIZING",
    "SIGNALING", "STAGE_OUT", "SPECIAL_EXIT", "RESV_DEL_HOLD", "REQUEUE_FED", "UNKNOWN",
}  # fmt: skip
_OUT_OF_MEMORY = "OUT_OF_MEMORY"
_CANCELLED = "CANCELLED"


class SlurmExecutor:
    """Attempts as Slurm jobs. `module` is what `python -m` runs for an attempt; tests pass one with their own tasks."""

    name = "slurm"

    def __init__(self, module: str = "camelid_core.jobs.attempt") -> None:
        self._module = module

    def start(self, job: Job, directory: Path) -> DetachedHandle:
        """Submit the attempt.

        Raises:
            UsageError: the recipe is for several machines.
            ClusterUnreachable: Slurm does not take it now.
            JobError: Slurm refuses it, or is not there.
        """
        settings = SETTINGS.load()
        _refuse_nodes(job.config)
        DetachedOrder(job, detached_mark(), self._module).write(directory)
        submitted = _submit(settings, job, directory)
        write_durably(directory / _SUBMISSION, json.dumps(submitted).encode(), private=True)
        found = SlurmJob(directory, submitted)
        with open_private(directory / LOG, "ab") as log:
            log.write(f"Submitted: {found.identity}.\n".encode())
        handle = DetachedHandle(found, directory)
        handle.beat()
        return handle

    def attach(self, job: Job, directory: Path) -> DetachedHandle | None:
        """Raises ClusterUnreachable: whether it runs is not known."""
        found = _submitted(directory)
        if found is None or not can_attach(found, directory):
            return None
        handle = DetachedHandle(found, directory)
        handle.beat()
        return handle

    def kill_leftovers(self, directory: Path) -> None:
        found = _submitted(directory)
        if found is not None:
            end_detached(found, directory, may_run(directory))


class SlurmJob:
    """A `ClusterJob` of Slurm, or of submitit's stand-in on this machine."""

    def __init__(self, directory: Path, submitted: Mapping[str, Any]) -> None:
        self._directory = directory
        self._id = str(submitted["id"])
        self._local_start = str(submitted.get("started", ""))
        self._asked = float("-inf")
        self._ask_seconds = _ASK_SECONDS
        self._state = "PENDING"

    @property
    def identity(self) -> str:
        return f"process {self._id} of this machine" if self._local_start else f"Slurm job {self._id}"

    def exit_code(self) -> int | None:
        code = exit_code_in(self._directory)
        if code is not None:
            return code
        if self._local_start:
            running = process_start_time(int(self._id)) == self._local_start and not _has_ended(int(self._id))
            return None if running else _code_or_lost(self._directory)
        return self._code_from_slurm()

    def end(self) -> None:
        if self._local_start:
            identity = ProcessIdentity.read(self._directory)
            if identity is not None:
                identity.kill()
            elif process_start_time(int(self._id)) == self._local_start:
                psutil.Process(int(self._id)).kill()  # before it began
            return
        self._asked, self._ask_seconds = float("-inf"), _ASK_AT_END_SECONDS
        # all of its processes at once: a polite end may take as long as it saves
        _ask_slurm("scancel", "--full", "--signal=KILL", self._id)
        _ask_slurm("scancel", self._id)  # one that waits has no processes

    def _code_from_slurm(self) -> int | None:
        if time.monotonic() - self._asked >= self._ask_seconds:
            self._asked = time.monotonic()
            self._state = _state_of(self._id)
        state = self._state.partition(" ")[0].rstrip("+")
        if state in _WAITS_OR_RUNS:
            return None
        if state in (_OUT_OF_MEMORY, _CANCELLED):
            return _KILLED
        return _code_or_lost(self._directory)  # a machine that failed or was taken back, or a file that is not seen yet


def _code_or_lost(directory: Path) -> int:
    code = exit_code_in(directory)
    return ExitCode.FENCED if code is None else code


def _state_of(job_id: str) -> str:
    """The job's state; UNKNOWN where accounting does not know it yet. Raises ClusterUnreachable."""
    from submitit.slurm.slurm import SlurmInfoWatcher

    said = _ask_slurm("sacct", "-o", "JobID,State,NodeList", "--parsable2", "-j", job_id)
    return SlurmInfoWatcher().read_info(said).get(job_id, {}).get("State") or "UNKNOWN"


def _ask_slurm(*command: str) -> str:
    """What one of Slurm's programs says. Raises ClusterUnreachable."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClusterUnreachable(f"Slurm does not answer: {error}.") from None
    if done.returncode and command[0] != "scancel":
        raise ClusterUnreachable(f"Slurm does not answer: {command[0]} said {done.stderr.strip()[:300]!r}.")
    return done.stdout


def _submit(settings: SlurmSettings, job: Job, directory: Path) -> dict[str, str]:
    """What is needed to find the submitted job again."""
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError
    from submitit.helpers import environment_variables

    folder = directory / _FOLDER
    folder.mkdir(PRIVATE_DIRECTORY_MODE)
    python = shlex.join(python_command(settings.python))
    try:
        if settings.cluster == "local":
            executor = submitit.LocalExecutor(folder, python=python)
            executor.update_parameters(
                timeout_min=settings.minutes, gpus_per_node=settings.gpus * _processes(job.config)
            )
        else:
            executor = submitit.SlurmExecutor(folder, python=python)
            executor.update_parameters(**_parameters(settings, job))
        with environment_variables(**SAFE_PATH):
            submitted = executor.submit(run_attempt, str(directory))
    except FailedJobError as error:  # sbatch failed: its words are in it
        raise ClusterUnreachable(f"Slurm does not take the job: {str(error).strip()[:500]}.") from None
    except (FailedSubmissionError, RuntimeError, OSError) as error:
        raise JobError(
            f"{error}. Give camelid worker where sbatch is, or `camelid plugins settings slurm cluster=local`."
        ) from None
    if settings.cluster == "local":
        _CHILDREN[submitted.job_id] = submitted
        return {"id": submitted.job_id, "started": process_start_time(int(submitted.job_id))}
    return {"id": submitted.job_id}


_CHILDREN: dict[str, Any] = {}
"""Processes that this one started, by number; kept, as they run as long as they like."""


def _parameters(settings: SlurmSettings, job: Job) -> dict[str, Any]:
    processes = _processes(job.config)
    named = {name: getattr(settings, name) for name in ("partition", "account", "qos", "constraint")}
    return {
        "job_name": f"camelid-{job.id}-{job.epoch}",
        "time": settings.minutes,
        "signal_delay_s": settings.warning_seconds,
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": settings.cpus * processes,
        "setup": [f"export {name}={shlex.quote(value)}" for name, value in SAFE_PATH.items()],
        **{name: value for name, value in named.items() if value},
        **({"gpus_per_node": settings.gpus * processes} if settings.gpus else {}),
        **({"mem": f"{settings.memory_gb}GB"} if settings.memory_gb else {}),
    }


def _submitted(directory: Path) -> SlurmJob | None:
    found = object_in(directory / _SUBMISSION)
    return SlurmJob(directory, found) if str(found.get("id", "")).isdecimal() else None


def _launch(config: Mapping[str, Any], field: str) -> int:
    launch = config.get("launch")
    value = launch.get(field, 1) if isinstance(launch, Mapping) else 1
    return value if isinstance(value, int) else 1


def _processes(config: Mapping[str, Any]) -> int:
    return _launch(config, "processes")


def _refuse_nodes(config: Mapping[str, Any]) -> None:
    if (nodes := _launch(config, "nodes")) > 1:
        raise UsageError(
            f"launch.nodes is {nodes}, and the executor slurm runs a job on one machine. "
            "`camelid launch RECIPE --print slurm` writes the sbatch file of a run on several."
        )


def _has_ended(pid: int) -> bool:
    """Whether a process has ended though its number is still there: its parent has not asked for its end yet."""
    child = _CHILDREN.get(str(pid))
    if child is not None:
        return bool(child.done())
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return True
