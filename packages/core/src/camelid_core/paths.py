"""Where Camelid keeps things: the only reader of `CAMELID_HOME`.

Knows directories and which names are safe in them. Knows nothing of what the files hold.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from .errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
HUB = "hf:"
"""What begins so is a dataset of the Hub, whatever lies in the working directory."""
_RESERVED = {"con", "prn", "aux", "nul", *(f"{device}{n}" for device in ("com", "lpt") for n in range(1, 10))}


def home() -> Path:
    """The directory that holds all state: `CAMELID_HOME`, else `~/.camelid`."""
    return Path(os.environ.get("CAMELID_HOME") or Path.home() / ".camelid").expanduser().resolve()


def models_dir() -> Path:
    return home() / "models"


def artefacts_dir() -> Path:
    return home() / "artefacts"


def data_dir() -> Path:
    return home() / "data"


def runs_dir() -> Path:
    return home() / "runs"


def jobs_file() -> Path:
    return home() / "jobs.sqlite3"


def safe_name(name: str, what: str = "name") -> str:
    """`name` unchanged if it is safe as one path component.

    Raises:
        UsageError: for anything else, traversal and reserved device names included.
    """
    if not _NAME.fullmatch(name) or ".." in name or name.split(".")[0].lower() in _RESERVED:
        raise UsageError(
            f"{what} {name!r} cannot be used: start with a letter or digit, then letters, digits, '.', '_' or '-', "
            "64 characters at most, no '..'."
        )
    return name


def is_here(text: str) -> bool:
    """Whether `text` is the path of something that is there."""
    return not text.startswith(HUB) and Path(text).expanduser().exists()


def anchor(text: str) -> str:
    """`text` as an absolute path if it is a path, so that it means the same in another working directory.

    A plain name (no separator) is left alone unless such a file or directory is right here, and a name of the Hub is
    in any case.
    """
    if not text or text.startswith(HUB):
        return text
    path = Path(text).expanduser()
    is_path = text.startswith((".", "/", "~")) or path.exists() or (os.sep in text and path.parent.exists())
    return str(path.absolute()) if is_path else text
