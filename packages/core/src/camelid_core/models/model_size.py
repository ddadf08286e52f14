"""The size of a model on disk: bytes, parameters, and those of routed experts, from the headers of its weight files.

Knows weight files. Loads no weights.
"""

from __future__ import annotations

from pathlib import Path

from camelid_core.errors import CamelidError

from .weight_files import WeightFiles


def weights_size(directory: Path) -> int:
    """Bytes of all weight files."""
    return sum(path.stat().st_size for path in directory.glob("*.safetensors"))


def parameters(directory: Path) -> int:
    """Number of parameters; 0 where they cannot be read."""
    try:
        return WeightFiles(directory).count
    except CamelidError:
        return 0


def expert_parameters(directory: Path) -> int:
    """How many of the parameters are those of routed experts; 0 where the files cannot be read."""
    try:
        files = WeightFiles(directory)
    except CamelidError:
        return 0
    return sum(files.values(name) for name in files.names if ".experts." in name)
