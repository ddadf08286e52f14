"""What a machine of the cluster calls: the one function of ours that submitit pickles, by its name, with a path.

Knows the exit code's file. Knows nothing of Slurm.
"""

from __future__ import annotations

import json
from pathlib import Path

from camelid_core.integrity import write_durably
from camelid_core.jobs import detached
from camelid_core.json_files import object_in

_CODE = "exit.json"


def run_attempt(directory: str) -> None:
    """Run the attempt in `directory`. Slurm ends a job with SIGTERM, which asks for saving here."""
    code = detached.main(Path(directory), term_saves=True)
    write_durably(Path(directory) / _CODE, json.dumps({"code": code}).encode(), private=True)


def exit_code_in(directory: Path) -> int | None:
    """The exit code of the attempt that ran there; None if it has not ended, or not by itself."""
    code = object_in(directory / _CODE).get("code")
    return code if isinstance(code, int) else None
