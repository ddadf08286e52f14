"""What a job needs, from its task's own function; and refusing one that no machine can ever run.

Knows tasks, plugins and machines. Knows nothing of how a task reckons.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from camelid_core.config import Config, validate
from camelid_core.errors import JobError

from .admission import never_fits
from .presence import live_machines
from .resources import Needs
from .store import JobStore
from .this_machine import this_machine

_ELSEWHERE = Needs(cores=0)
"""A job that its executor runs on other machines takes nothing here to speak of."""


def needs_of(store: JobStore, task: str, config: Config | Mapping[str, Any]) -> Needs | None:
    """What such a job needs; None where its task does not say, or cannot: then it runs with nothing beside."""
    from camelid_core.plugins import load_host

    values = config.model_dump(mode="json") if isinstance(config, Config) else config
    if _runs_elsewhere(values):
        return _ELSEWHERE
    with suppress(Exception):  # of a plugin's function, too: the job itself says what is wrong, when it runs
        found = load_host().tasks[task]
        reckon = found.load_needs()
        if reckon is not None:
            needs: Needs | None = reckon(validate(found.load_config(), values, f"a {task} job"), store)
            return needs
    return None


def possible_needs(store: JobStore, task: str, config: Config | Mapping[str, Any]) -> Needs | None:
    """`needs_of` a job that workers are to run.

    Raises:
        JobError: neither a machine whose worker is alive nor this one can ever run it.
    """
    needs = needs_of(store, task, config)
    if needs is not None:
        reasons = [never_fits(needs, machine) for machine in live_machines(store)]
        if all(reasons) and (reason := never_fits(needs, this_machine())):
            told = "; ".join(dict.fromkeys([*reasons, reason]))
            raise JobError(f"This {task} job can run on no machine that is known: {told}. Nothing was queued.")
    return needs


def _runs_elsewhere(config: Mapping[str, Any]) -> bool:
    launch = config.get("launch")
    return isinstance(launch, Mapping) and launch.get("executor") not in (None, "", "local")
