"""How a Python process of ours begins, and what it may see of our environment.

Whoever types `camelid serve .` stands in a directory from anywhere. Python takes a `psutil.py` that lies there for the
package of that name, unless it is told to look only where packages are installed. Knows nothing of what processes do.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from .url_credentials import without_userinfo

SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""Keeps a Python process, and all that it starts, from importing the files of its working directory."""

_PASSED_VARIABLES = {
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy",
    "https_proxy", "no_proxy", "ALL_PROXY", "all_proxy", "XDG_CACHE_HOME", "TRANSFORMERS_OFFLINE",
    "TOKENIZERS_PARALLELISM", "PYTHONPATH",
    "MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE",
}  # fmt: skip
_PASSED_PREFIXES = (
    "LC_", "CAMELID_", "HF_", "CUDA_", "HIP_", "ROCR_", "NCCL_", "GLOO_", "OMP_", "MKL_", "PYTORCH_", "TORCH",
)  # fmt: skip
_SECRET_WORDS = ("TOKEN", "KEY", "SECRET", "PASSW", "PASSPHRASE", "CREDENTIAL", "COOKIE", "AUTH")


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module as `python -m` does, without the working directory on its import path."""
    return [sys.executable, "-P", "-m", module, *arguments]


def child_environment(given: Mapping[str, str]) -> dict[str, str]:
    """What an attempt may see: no credentials, not in addresses either, and paths that hold in another directory."""
    passed = {name: without_userinfo(name, value) for name, value in given.items() if _may_pass(name)}
    return safe_environment(passed) | {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"}


def variables_with_credentials(given: Mapping[str, str]) -> list[str]:
    """The variables that `child_environment` passes on without the user and the password in their addresses."""
    return sorted(name for name, value in given.items() if _may_pass(name) and without_userinfo(name, value) != value)


def safe_environment(given: Mapping[str, str]) -> dict[str, str]:
    """All of `given`, with an import path that holds in another directory and names none that nobody named.

    An empty entry of PYTHONPATH, as `PYTHONPATH=$PYTHONPATH:src` leaves behind, means the working directory.
    """
    named = [str(Path(entry).absolute()) for entry in given.get("PYTHONPATH", "").split(os.pathsep) if entry]
    kept = {name: value for name, value in given.items() if name != "PYTHONPATH"} | SAFE_PATH
    return kept | {"PYTHONPATH": os.pathsep.join(named)} if named else kept


def _may_pass(name: str) -> bool:
    by_prefix = name.startswith(_PASSED_PREFIXES) and not any(word in name.upper() for word in _SECRET_WORDS)
    return by_prefix or name in _PASSED_VARIABLES
