"""Engines, chat, batch predict and generation-based evaluation.

The names live in the modules: this one is imported by every `camelid` command and stays empty.
"""

__version__ = "0.1.0"
__all__ = ["__version__"]
