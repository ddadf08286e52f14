"""What `camelid export --help` says of each installed format: what it is, and its settings with defaults.

Knows the sections of exporters. Knows no format.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from camelid_core.config import Config
from camelid_core.config_help import allowed, default_of, text_of
from typer.core import TyperCommand

from camelid_train.export.exporter import exporters
from camelid_train.export.task_formats import TASK_FORMATS


class ExportHelp(TyperCommand):
    """A command whose help ends with the installed formats and their settings."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        for name, other in TASK_FORMATS.items():
            with formatter.section(f"--to {name}: {other.help.rstrip('.')}"):
                formatter.write_dl(list(_entries(other.config, (other.source, "output"))))
        for exporter in exporters():
            with formatter.section(f"--to {exporter.name}: {exporter.help.rstrip('.')}"):
                formatter.write_dl(list(_entries(exporter.config, ("type",))))


def _entries(section: type[Config], elsewhere: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Name with default, and help, of each field; those of `elsewhere` are no settings."""
    for name, field in section.model_fields.items():
        if name not in elsewhere:
            default, values = default_of(field), allowed(field)
            text = text_of(field)
            yield f"{name}={default}" if default else name, f"{text} [{values}]" if values else text
