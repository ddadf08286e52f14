"""The optional packages of `camelid-core[quality]`, imported when first needed.

Knows what to install. Knows nothing of what they do.
"""

from __future__ import annotations

import importlib
from typing import Any

from camelid_core.errors import MissingPackage


def require_extra(module: str, what: str) -> Any:
    """Import the module.

    Raises:
        MissingPackage: it is not installed; says what to type.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackage(
            f'{what} needs {module}, which is not installed ({error}): pip install "camelid-core[quality]".'
        ) from None
