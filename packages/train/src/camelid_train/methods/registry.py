"""The registry of tuning methods, filled through the hook: `[method] type` → `TuningMethod`.

Knows no method.
"""

from __future__ import annotations

from typing import Any

from camelid_core.plugins import load_host
from camelid_core.registry import Registry

from camelid_train.sections import Method

from .tuning_method import TuningMethod


def methods() -> Registry[TuningMethod[Any]]:
    """Every installed tuning method by name."""
    return load_host().registry("camelid_tuning_methods")


def method_of(section: Method) -> TuningMethod[Any]:
    return methods()[section.type]
