"""The Hub commit (revision) that a model's directory was downloaded at.

Knows the metadata that huggingface_hub writes beside downloaded files. Files that were copied or made here have none,
and the Hub is not asked whether it has such a commit.
"""

from __future__ import annotations

import re
from pathlib import Path

from camelid_core.errors import ConfigError

_COMMIT = re.compile(r"[0-9a-f]{40}")


def hub_commit(directory: Path) -> str:
    """The commit that configuration and weights are of; empty if none is known, or not one for all of them."""
    if directory.parent.name == "snapshots" and _COMMIT.fullmatch(directory.name):  # in the Hub's own cache
        return directory.name
    found = {_noted_commit(path) for path in (directory / "config.json", *directory.glob("*.safetensors"))}
    return found.pop() if len(found) == 1 else ""


def require_commit(directory: Path, revision: str) -> None:
    """Raise ConfigError unless the model in `directory` is known to be of this commit, or of one that begins so."""
    commit = hub_commit(directory)
    if len(revision) >= 7 and commit.startswith(revision):
        return
    known = f"is of commit {commit}" if commit else "does not say of which commit it is"
    raise ConfigError(
        f"model.revision is {revision!r}, but {str(directory)!r} {known}. Leave model.revision empty to take what is "
        f"there; or move it away, type `hf download ORG/NAME --revision COMMIT --local-dir {directory}`, and give that "
        "commit's number (at least 7 of its digits)."
    )


def _noted_commit(path: Path) -> str:
    """The commit in the metadata beside a file, if the file was not written after it."""
    note = path.parent / ".cache" / "huggingface" / "download" / f"{path.name}.metadata"
    try:
        commit, _, noted = note.read_text(encoding="utf-8").splitlines()
        sound = _COMMIT.fullmatch(commit) and path.stat().st_mtime <= float(noted) + 1
    except (OSError, ValueError):
        return ""
    return commit if sound else ""
