"""How Camelid starts Python subprocesses, and which environment variables they may see.

`camelid serve .` may be typed in a directory that was downloaded. Python would import a `psutil.py` there instead of
the package of that name, unless it is told to import only what is installed. Knows nothing of what subprocesses do.
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


def module_command(module: str, *arguments: str, python: str = "") -> list[str]:
    """The command that runs a module as `python -m` does, without the working directory on its import path; `python` is
    another one than this."""
    return [*python_command(python), "-m", module, *arguments]


def python_command(python: str = "") -> list[str]:
    """How a Python program is begun: this one's Python, or another."""
    return [python, "-P"] if python else [sys.executable, "-P"]


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of an attempt: no credentials, not in URLs either, and an absolute import path."""
    passed = {name: without_userinfo(name, value) for name, value in environment.items() if _may_pass(name)}
    return safe_environment(passed) | {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"}


def variables_with_credentials(environment: Mapping[str, str]) -> list[str]:
    """The variables that `child_environment` passes on without the user and the password in their URLs."""
    passed = {name: value for name, value in environment.items() if _may_pass(name)}
    return sorted(name for name, value in passed.items() if without_userinfo(name, value) != value)


def safe_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """All of `environment`, with PYTHONPATH made absolute and without its empty entries.

    An empty entry of PYTHONPATH, as `PYTHONPATH=$PYTHONPATH:src` leaves behind, means the working directory.
    """
    entries = [str(Path(entry).absolute()) for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    others = {name: value for name, value in environment.items() if name != "PYTHONPATH"} | SAFE_PATH
    return others | {"PYTHONPATH": os.pathsep.join(entries)} if entries else others


def is_secret_variable(name: str) -> bool:
    """Whether an environment variable holds a secret, by its name."""
    return any(word in name.upper() for word in _SECRET_WORDS)


def _may_pass(name: str) -> bool:
    by_prefix = name.startswith(_PASSED_PREFIXES) and not is_secret_variable(name)
    return by_prefix or name in _PASSED_VARIABLES
