"""A plugin by which a test keeps a run from being faster than itself.

While the home directory has a file `steps`, no run there begins another step once it has done that many, unless it is
asked to stop. With `CAMELID_FALLS=RANK`, that process of several is killed at its fourth step.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from camelid_core import hookimpl
from camelid_core.paths import home
from camelid_train.monitoring.callbacks import LoopCallback

sys.dont_write_bytecode = True  # a disk that a test has fill up would keep halves of modules
ENDLESS = 10**9


def permitted() -> int:
    try:
        return int((home() / "steps").read_text() or 0)
    except FileNotFoundError:
        return ENDLESS


def make(_, context):
    from transformers import TrainerCallback

    class Gate(TrainerCallback):
        def on_step_begin(self, args, state, control, **more):
            if state.global_step == 3 and os.environ.get("CAMELID_FALLS", "") == os.environ.get("RANK"):
                os.kill(os.getpid(), signal.SIGKILL)
            while state.global_step >= permitted() and not context.stop_requested():
                time.sleep(0.01)

    return Gate()


@hookimpl
def camelid_trainer_callbacks():
    return [LoopCallback("gate", "Waits until there may be more steps.", make)]
