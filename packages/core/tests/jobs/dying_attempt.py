"""An attempt at `tick` that may die at a point of its own; see `dying_worker`."""

from __future__ import annotations

import os
import sys

from camelid_core.jobs import attempt
from dying_worker import IN_ATTEMPT, VARIABLE, arm
from ticking import TICK

if __name__ == "__main__":
    arm(os.environ[VARIABLE], IN_ATTEMPT)
    sys.exit(attempt.main(tasks=lambda: {"tick": TICK}))
