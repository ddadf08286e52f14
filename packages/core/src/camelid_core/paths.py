"""Where Camelid keeps things: the only reader of `CAMELID_HOME`.

Knows directories and which names are safe in them. Knows nothing of what the files hold.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from .errors import UsageError, shortened

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
HUB_PREFIX = "hf:"
"""Prefix of a dataset on the Hub, whatever lies in the working directory."""
LOCAL_HUB_PREFIX = "hub:"
"""Prefix of a model in a local hub: `hub:DIR/ORG/NAME:BRANCH`."""
_MAX_NAME, _MAX_PATH = 255, 4095
"""In bytes: what almost every file system takes."""
_RESERVED = {"con", "prn", "aux", "nul", *(f"{device}{n}" for device in ("com", "lpt") for n in range(1, 10))}


def home() -> Path:
    """The directory that holds all state: `CAMELID_HOME`, else `~/.camelid`."""
    return validated_path(os.environ.get("CAMELID_HOME") or "~/.camelid", "CAMELID_HOME").resolve()


def models_dir() -> Path:
    return home() / "models"


def artefacts_dir() -> Path:
    return home() / "artefacts"


def data_dir() -> Path:
    return home() / "data"


def safe_name(name: str, what: str = "name") -> str:
    """`name` unchanged if it is safe as one path component.

    Raises:
        UsageError: for anything else, traversal and reserved device names included.
    """
    if not _NAME.fullmatch(name) or ".." in name or name.split(".")[0].lower() in _RESERVED:
        raise UsageError(
            f"{what} {shortened(name)!r} cannot be used: start with a letter or digit, then letters, digits, "
            "'.', '_' or '-', 64 characters at most, no '..'."
        )
    return name


def validated_path(given: str | Path, what: str = "path") -> Path:
    """A path from user input, validated and with `~` expanded. Every path that a person types comes in through here.

    Raises:
        UsageError: no file can have that name.
    """
    text = str(given)
    if reason := _why_invalid(text):
        raise UsageError(f"{what} {shortened(text)!r} cannot be used: {reason}.")
    return Path(text).expanduser()


def _why_invalid(text: str) -> str:
    """What is wrong with a path and what to do about it; empty if it is valid."""
    if "\0" in text:
        return "it has a character of value zero, as no name has. Leave that out"
    try:
        raw = os.fsencode(Path(text).expanduser())
    except UnicodeEncodeError:
        return "it has half a character, as no name has. Type it anew"
    except RuntimeError:  # pathlib's
        user = shortened(text[1:].partition("/")[0])
        whose = f"of a user {user!r}" if user else "of yours"
        return f"no home directory {whose} is known. Give the whole path, from / on"
    longest = max(map(len, raw.split(b"/")))
    if longest > _MAX_NAME:
        return f"a name may have {_MAX_NAME} bytes, and one in it has {longest:,}. Give a shorter one"
    if len(raw) > _MAX_PATH:
        return f"a path may have {_MAX_PATH:,} bytes, and it has {len(raw):,}. Give a shorter one"
    return ""


def is_existing_path(text: str) -> bool:
    """Whether `text` is the path of an existing file or directory, and no dataset of the Hub."""
    try:
        return not text.startswith(HUB_PREFIX) and validated_path(text).exists()
    except (UsageError, OSError):
        return False


def absolute_if_path(text: str) -> str:
    """`text` as an absolute path if it is a path, so that it means the same in another working directory.

    A plain name (no separator) is left alone unless such a file or directory is right here, and a name of the Hub is
    in any case.

    Raises:
        UsageError: neither a name nor a path is like that.
    """
    if not text or text.startswith(HUB_PREFIX):
        return text
    if text.startswith(LOCAL_HUB_PREFIX):
        return f"{LOCAL_HUB_PREFIX}{validated_path(text.removeprefix(LOCAL_HUB_PREFIX)).absolute()}"
    path = validated_path(text)
    is_path = text.startswith((".", "/", "~")) or path.exists() or (os.sep in text and path.parent.exists())
    return str(path.absolute()) if is_path else text
