"""The rules of a section: what a recipe, a page and a job's table rely on in the settings of any plugin.

Knows configurations. Knows nothing of what the settings do.
"""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from camelid_core.config_help import text_of
from camelid_core.plugin_kit.description_rules import assert_described
from pydantic import ValidationError

from camelid_train.sections import ExportSection, Method, Objective


def assert_section(item: Any, base: type[Method | Objective | ExportSection]) -> Any:
    """`item` can be described, and its `config` is a section that it can be chosen by; returns the section's defaults.

    `type` is a Literal of the item's name and its default; every other field has a default and a docstring, which is
    its label and its help; what was written as JSON is read back equal.
    """
    assert_described(item)
    name, config = item.name, getattr(item, "config", None)
    assert isinstance(config, type), f"{name}: config is {config!r}; it is the class of the section"
    assert issubclass(config, base), f"{name}: {config.__name__} is no {base.__name__}; derive it from that"
    type_field = config.model_fields["type"]
    assert get_origin(type_field.annotation) is Literal, f'{name}: write type: Literal["{name}"] = "{name}"'
    assert get_args(type_field.annotation) == (name,), f'{name}: write type: Literal["{name}"] = "{name}"'
    assert type_field.default == name, f'{name}: write type: Literal["{name}"] = "{name}"'
    assert (config.__doc__ or "").strip(), f"{name}: {config.__name__} has no docstring; it heads the form"
    for field, info in config.model_fields.items():
        assert field == "type" or text_of(info), f"{name}: {field} has no docstring; it is the field's help"
    try:
        section = config.model_validate({})
        again = config.model_validate_json(section.model_dump_json())
    except ValidationError as error:
        raise AssertionError(
            f"{name}: the section has no defaults that are valid: {error.errors()[0]['loc']}"
        ) from None
    assert again == section, f"{name}: the section is not read back as it was written: {section!r}, {again!r}"
    return section
