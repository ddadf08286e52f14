"""The optional packages behind `camelid-core[quality]`, imported when first needed.

Knows how to say what to install. Knows nothing of what they do.
"""

from __future__ import annotations

import importlib
from typing import Any

from camelid_core.errors import MissingPackage


def require_extra(module: str, what: str) -> Any:
    """The module, or a sentence on how to get it.

    Raises:
        MissingPackage: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackage(
            f'{what} needs {module}, which is not installed ({error}): pip install "camelid-core[quality]".'
        ) from None
