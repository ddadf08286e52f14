"""What `camelid train --help` says of a recipe: every field with its default, its allowed values and its description.

Knows the recipe's class. The fields of other tuning methods and objectives are in docs/reference/config.md.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from camelid_core.config_help import Section, allowed, default_of, sections, text_of
from typer.core import TyperCommand

from camelid_train.config import Recipe
from camelid_train.sections import DEFAULT_METHOD, DEFAULT_OBJECTIVE


class RecipeHelp(TyperCommand):
    """A command whose help ends with the fields of a recipe."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        formatter.write_paragraph()
        formatter.write_text("Fields of a recipe with their defaults, typed as section.field=value:")
        for section in sections(Recipe):
            if section.fields and section.type in ("", DEFAULT_METHOD, DEFAULT_OBJECTIVE):
                with formatter.section(f"[{section.path}] {(inspect.getdoc(section.cls) or '').rstrip('.')}"):
                    formatter.write_dl(list(_entries(section)))


def _entries(section: Section) -> Iterator[tuple[str, str]]:
    for name, field in section.fields.items():
        default, values = default_of(field), allowed(field)
        text = text_of(field)
        if name == "type":
            text, values = section.about, ", ".join(_types(section.path))
        key = f"{section.path}.{name}"
        yield f"{key}={default}" if default else key, f"{text} [{values}]" if values else text


def _types(path: str) -> list[str]:
    return [str(form.model_fields["type"].default) for form in Recipe.forms(path)]
