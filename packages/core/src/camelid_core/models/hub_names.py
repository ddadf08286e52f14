"""`ORG/NAME:BRANCH`, how a branch of a repository is named, and where Hugging Face's cache keeps its files.

The form is text-generation-webui's: no branch means `main`. `hub:DIR/ORG/NAME:BRANCH` means the same in a local hub,
and `/FILE.gguf` behind either one of several files.
Layout of the cache: huggingface.co/docs/huggingface_hub/guides/manage-cache. Knows names and directories. Knows
nothing of what the files hold, and asks no network.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from camelid_core.errors import ModelError, UsageError, shortened
from camelid_core.paths import LOCAL_HUB_PREFIX, validated_path

MAIN = "main"
CACHE = ".cache"
"""Where a local hub keeps its branches as Hugging Face's cache does: `HF_HUB_CACHE=DIR/.cache` makes it visible."""
_GGUF = ".gguf"
_PART = r"[A-Za-z0-9][\w.-]*"
_NAME = re.compile(rf"(?P<repository>{_PART}/{_PART})(?P<colon>:(?P<branch>.*))?", re.DOTALL)
_BRANCH = re.compile(r"[a-zA-Z0-9._-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class BranchName:
    """A repository (`ORG/NAME`) and its branch; `hub` is the local hub's directory, None for Hugging Face's. `file` is
    one of several GGUF files in it, empty for the whole."""

    repository: str
    branch: str = MAIN
    hub: Path | None = None
    file: str = ""

    @property
    def cache(self) -> Path:
        return self.hub / CACHE if self.hub else hugging_face_cache()

    def directory(self) -> Path | None:
        """Its files in the cache, None where it is not there."""
        folder = repository_folder(self.cache, self.repository)
        try:
            commit = (folder / "refs" / self.branch).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return None
        snapshot = folder / "snapshots" / commit
        return snapshot if _COMMIT.fullmatch(commit) and snapshot.is_dir() else None


def parse_branch_name(name: str) -> BranchName | None:
    """What `name` means, None if it names no repository.

    Raises:
        UsageError: a local hub without a repository, or a branch that no name can have.
    """
    hub, text, file = None, name, ""
    if name.lower().endswith(_GGUF) and name.count("/") > 1:
        text, _, file = name.rpartition("/")
        name = text
    if name.startswith(LOCAL_HUB_PREFIX):
        directory, _, last = name.removeprefix(LOCAL_HUB_PREFIX).rpartition("/")
        parent, _, organisation = directory.rpartition("/")
        hub, text = (
            validated_path(parent or ("/" if directory.startswith("/") else "."), "hub"),
            f"{organisation}/{last}",
        )
    found = _NAME.fullmatch(text)
    if found is None:
        if hub is not None:
            raise UsageError(f"{shortened(name)!r} names no repository; write {LOCAL_HUB_PREFIX}DIR/ORG/NAME:BRANCH.")
        return None
    branch = valid_branch(found["branch"]) if found["colon"] else MAIN
    return BranchName(found["repository"], branch, hub, file)


def valid_branch(branch: str) -> str:
    """`branch` if it can be one. Raises UsageError."""
    if (
        not _BRANCH.fullmatch(branch)
        or branch.startswith((".", "-"))
        or branch.endswith((".", ".lock"))
        or ".." in branch
    ):
        raise UsageError(
            f"branch {shortened(branch)!r} cannot be used: letters, digits, '.', '_' and '-' alone, such as "
            "gptq-4bit-32g-actorder_True."
        )
    return branch


def valid_repository(name: str) -> str:
    """`name` if it is ORG/NAME. Raises UsageError."""
    found = _NAME.fullmatch(name)
    if found is None or found["colon"] or ".." in name or name.endswith((".", ".git")):
        raise UsageError(f"repository {shortened(name)!r} cannot be used; write ORG/NAME, such as me/tulu-7B-GPTQ.")
    return name


def repository_folder(cache: Path, repository: str) -> Path:
    """Its folder in a cache."""
    return cache / f"models--{repository.replace('/', '--')}"


def hugging_face_cache() -> Path:
    """Where huggingface_hub keeps what it downloaded (its environment variables)."""
    if given := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return validated_path(given, "HF_HUB_CACHE")
    cache = validated_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "XDG_CACHE_HOME") / "huggingface"
    return validated_path(os.environ.get("HF_HOME") or str(cache), "HF_HOME") / "hub"


def require_branch(name: BranchName) -> Path:
    """Its directory. Raises ModelError: it is not in the local hub, or the hub has no such branch."""
    if (found := name.directory()) is not None:
        return found
    folder = repository_folder(name.cache, name.repository)
    branches = sorted(path.name for path in (folder / "refs").iterdir()) if (folder / "refs").is_dir() else []
    if branches:
        raise ModelError(f"{name.repository!r} has no branch {name.branch!r}; it has {', '.join(branches)}.")
    known = sorted(path.name.removeprefix("models--").replace("--", "/", 1) for path in name.cache.glob("models--*"))
    has = f"it has {', '.join(known)}" if known else "nothing was published there"
    raise ModelError(f"the hub {str(name.hub)!r} has no repository {name.repository!r}; {has}.")
