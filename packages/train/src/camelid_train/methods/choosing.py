"""From a `[method]` section to the method it means, through the hook.

Knows the registry of methods and how to say what does not fit. Knows no method.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from camelid_core.errors import UnknownName, did_you_mean
from camelid_core.plugins import load_host
from camelid_core.registry import Registry
from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from .base import Method, TuningMethod

DEFAULT = "lora"


def methods() -> Registry[TuningMethod[Any]]:
    """Every installed tuning method by name."""
    return load_host().registry("camelid_tuning_methods")


def method_of(section: Method) -> TuningMethod[Any]:
    return methods()[section.type]


def read_section(value: Any) -> Method:
    """The section that `value` means: its `type` says which class reads it.

    Raises:
        ValidationError: no such method, or a knob that does not fit it.
    """
    if isinstance(value, Method):
        return value
    if not isinstance(value, Mapping):
        raise _error((), "a section with a type is needed", value)
    name = value.get("type", DEFAULT)
    try:
        config = methods()[str(name)].config
    except UnknownName as error:
        raise _error(("type",), str(error).rstrip("."), name) from None
    unknown = sorted(str(key) for key in set(value) - set(config.model_fields))
    if unknown:
        known = sorted(config.model_fields)
        hint = f"unknown key for {name!r}.{did_you_mean(unknown[0], known)} Known: {', '.join(known)}"
        raise _error((unknown[0],), hint, value[unknown[0]])
    return config.model_validate(dict(value))


def _error(loc: tuple[str, ...], text: str, given: Any) -> ValidationError:
    escaped = text.replace("{", "{{").replace("}", "}}")
    detail = InitErrorDetails(type=PydanticCustomError("method", escaped), loc=loc, input=given)
    return ValidationError.from_exception_data("method", [detail])
