"""From a section of the recipe to the class that reads it: the section's `type` says which, through a registry.

Knows how to say what does not fit. Knows no section.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from camelid_core.config import Config
from camelid_core.errors import UnknownName, did_you_mean
from camelid_core.registry import Registry
from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

SectionT = TypeVar("SectionT", bound=Config)


def read(
    value: Any, base: type[SectionT], choices: Registry[Any], default: str, elsewhere: Mapping[str, str]
) -> SectionT:
    """The section that `value` means. Each of `choices` has the class of its section as `config`.

    `elsewhere` says which distribution to install for names that no installed one gives.

    Raises:
        ValidationError: no such choice, or a knob that does not fit it.
    """
    if isinstance(value, base):
        return value
    if not isinstance(value, Mapping):
        raise error((), "a section with a type is needed", value)
    name = value.get("type", default)
    try:
        config = choices[str(name)].config
    except UnknownName as unknown_name:
        missing = elsewhere.get(str(name))
        text = f"needs a plugin that is not installed; type: pip install {missing}" if missing else str(unknown_name)
        raise error(("type",), text.rstrip("."), name) from None
    unknown = sorted(str(key) for key in set(value) - set(config.model_fields))
    if unknown:
        known = sorted(config.model_fields)
        hint = f"unknown key for {name!r}.{did_you_mean(unknown[0], known)} Known: {', '.join(known)}"
        raise error((unknown[0],), hint, value[unknown[0]])
    section: SectionT = config.model_validate(dict(value))
    return section


def error(loc: tuple[str, ...], text: str, given: Any) -> ValidationError:
    escaped = text.replace("{", "{{").replace("}", "}}")
    detail = InitErrorDetails(type=PydanticCustomError("section", escaped), loc=loc, input=given)
    return ValidationError.from_exception_data("section", [detail])
