"""Camelid's core: what training, serving and the pages agree on."""

from .errors import CamelidError
from .hooks import hookimpl
from .records import Message, Record

__version__ = "0.1.0"
__all__ = ["CamelidError", "Message", "Record", "__version__", "hookimpl"]
