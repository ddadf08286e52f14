"""The registry of exporters, filled through the hook: `[to] type` → `Exporter`.

Knows no exporter.
"""

from __future__ import annotations

from typing import Any

from camelid_core.plugins import load_host
from camelid_core.registry import Registry

from camelid_train.sections import ExportSection

from .exporter import Exporter


def exporters() -> Registry[Exporter[Any]]:
    """Every installed exporter by name."""
    return load_host().registry("camelid_exporters")


def exporter_of(section: ExportSection) -> Exporter[Any]:
    return exporters()[section.type]
