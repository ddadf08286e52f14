"""Help says of every field what its class says: sections, defaults, choices and ranges."""

from typing import Literal

from camelid_core.config import Config
from camelid_core.config_help import allowed, default_of, sections, text_of
from pydantic import Field


class Inner(Config):
    """A section."""

    size: int = Field(4, ge=1, le=8)
    """Batch size,
    in rows."""
    kind: Literal["a", "b"] = "a"
    """One of two."""
    limit: float | None = Field(None, gt=0)
    """A limit."""


class Whole(Config):
    name: str
    """Its name."""
    inner: Inner = Inner()
    """The section inside."""


def test_sections_come_with_their_paths_and_what_is_said_of_them():
    found = [(each.path, each.about, list(each.fields)) for each in sections(Whole)]
    assert found == [("", "", ["name"]), ("inner", "The section inside.", ["size", "kind", "limit"])]


def test_fields_have_their_allowed_values_defaults_and_text():
    size, kind, limit = Inner.model_fields.values()
    assert [allowed(field) for field in (size, kind, limit)] == ["1–8", "a, b", "> 0"]
    assert [default_of(field) for field in (size, kind, limit, Whole.model_fields["name"])] == ["4", "a", "", ""]
    assert text_of(size) == "Batch size, in rows."
