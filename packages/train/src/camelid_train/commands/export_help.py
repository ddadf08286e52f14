"""What `camelid export --help` says of each installed format: what it is, and its settings with defaults.

Knows the sections of exporters. Knows no format.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from camelid_core.config import Config
from camelid_core.config_help import allowed, default_of, text_of
from typer.core import TyperCommand

from camelid_train.export.exporter import exporters


class ExportHelp(TyperCommand):
    """A command whose help ends with the installed formats and their settings."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        for exporter in exporters():
            with formatter.section(f"--to {exporter.name}: {exporter.help.rstrip('.')}"):
                formatter.write_dl(list(_entries(exporter.config)))


def _entries(section: type[Config]) -> Iterator[tuple[str, str]]:
    for name, field in section.model_fields.items():
        if name != "type":
            default, values = default_of(field), allowed(field)
            text = text_of(field)
            yield f"{name}={default}" if default else name, f"{text} [{values}]" if values else text
