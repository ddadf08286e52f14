"""What a cluster runs for one attempt, on one of its machines.

    python -m camelid_core.jobs.detached ATTEMPT_DIRECTORY

Starts the ordinary attempt as a child in a session of its own, with the attempt's log, and ends as it does. Ended
itself (SIGTERM), it kills exactly the processes of the attempt; killed, it takes the attempt along. Knows the order and
processes. Knows nothing of which cluster it is, and opens no job table.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from camelid_core.errors import CamelidError
from camelid_core.file_permissions import open_private
from camelid_core.subprocesses import child_environment, module_command

from .attempt_result import AttemptResult, ExitCode, Outcome
from .detached_order import DetachedOrder, last_request, own_version
from .process_identity import ATTEMPT_VARIABLE, ProcessIdentity
from .run_directories import LOG, home_of

PREEMPTED = "preempted"
"""The kind of result of an attempt that saved because its cluster took the machine back."""
_TAKEN_BACK = "The cluster ended it, for its time limit or for another job. It saved, and goes on in another attempt."
SIGNAL_BASE = 128
"""A process that was ended by signal n is reported with exit code 128 + n, as shells do."""
_CLUSTER_PREFIXES = ("RAY_", "SLURM_")
"""Variables that the cluster's own libraries need in an attempt that starts more on the cluster."""
_BLOCKED = {signal.SIGTERM, signal.SIGUSR1}


def main(directory: Path, term_saves: bool = False) -> int:
    """Run the attempt in `directory`; the exit code is its own, or 128 + the signal that ended it.

    SIGUSR1 and SIGUSR2, which announce a time limit or a preemption, have it save; the job then goes on in another
    attempt. So does SIGTERM where `term_saves`.
    """
    try:
        order = DetachedOrder.read(directory)
        _check_version(order)
    except CamelidError as error:
        sys.stderr.write(f"{error}\n")
        AttemptResult.from_exception(error).write(directory)
        return ExitCode.FAILED
    with open_private(directory / LOG, "ab") as log:
        process = _start(order, directory, log.fileno())
    identity = ProcessIdentity.of(process.pid, order.mark)
    announced: list[int] = []

    def save(number: int, frame: object) -> None:
        announced.append(number)
        process.send_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, save if term_saves else lambda *_: identity.kill())
    signal.signal(signal.SIGUSR1, save)
    signal.signal(signal.SIGUSR2, save)
    identity.write(directory)
    code = process.wait()
    identity.kill()
    if announced and code == ExitCode.SAVED and not last_request(directory):
        AttemptResult(Outcome.SAVED, _TAKEN_BACK, PREEMPTED).write(directory)
    return code if code >= 0 else SIGNAL_BASE - code


def _start(order: DetachedOrder, directory: Path, log: int) -> subprocess.Popen[bytes]:
    home = home_of(directory)
    arguments = ("--home", str(home), "--detached", str(order.job.id), str(order.job.epoch))
    ours = {"CAMELID_HOME": str(home), ATTEMPT_VARIABLE: order.mark}
    of_cluster = {name: value for name, value in os.environ.items() if name.startswith(_CLUSTER_PREFIXES)}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)  # as LocalExecutor does: the attempt unblocks them
    try:
        return subprocess.Popen(
            module_command(order.module, *arguments),
            cwd=directory,
            env=child_environment(os.environ) | of_cluster | ours,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _check_version(order: DetachedOrder) -> None:
    if order.version != own_version():
        raise CamelidError(
            f"this machine of the cluster has camelid-core {own_version()}, and the worker has {order.version}. "
            "Install the same version on both."
        )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
