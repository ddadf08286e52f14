"""The sections that plugins add to: `[method]` and `[objective]` of a recipe, and `[to]` of an export.

A section's `type` names the class that reads it, through the registry of the hook. Knows the base classes, the
default of each and the messages for what does not fit. Knows nothing of tuning or of losses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, TypeVar

from camelid_core.config import Config
from camelid_core.errors import UnavailableName, UnknownName, did_you_mean
from camelid_core.plugins import load_host
from camelid_core.registry import Registry
from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

SectionT = TypeVar("SectionT", bound=Config)


class Method(Config):
    """Base of every `[method]` section. `type` is a `Literal` of the method's name, and its default."""

    type: str


class Objective(Config):
    """Base of every `[objective]` section. `type` is a `Literal` of the objective's name, and its default."""

    type: str


class ExportSection(Config):
    """Base of every `[to]` section of an export. `type` is a `Literal` of the exporter's name, and its default."""

    type: str

    def with_absolute_paths(self) -> Self:
        """With relative paths made absolute; those that have any say which."""
        return self


class SftObjective(Objective):
    """Supervised fine-tuning (SFT): cross-entropy on the assistant's tokens."""

    type: Literal["sft"] = "sft"


DEFAULT_METHOD = "lora"
DEFAULT_OBJECTIVE = "sft"
ELSEWHERE = dict.fromkeys(("dpo", "kto", "orpo", "grpo"), "camelid-trl")
"""Objectives of a Camelid plugin, which may not be installed."""
OWN = "own"
"""What `calibration` of an export's section says for the rows that the model was trained on."""
EXPORTERS_ELSEWHERE = {"gguf": "camelid-gguf", "gguf-lora": "camelid-gguf", "gptq": "camelid-gptq"}
"""Exporters of a Camelid plugin, which may not be installed."""


def read_method(value: Any) -> Method:
    """The `[method]` section that `value` means.

    Raises:
        ValidationError: no such method, or a field that it does not have.
    """
    return _read(value, Method, load_host().registry("camelid_tuning_methods"), DEFAULT_METHOD, {})


def read_objective(value: Any) -> Objective:
    """The `[objective]` section that `value` means.

    Raises:
        ValidationError: no such objective, or a field that it does not have.
    """
    return _read(value, Objective, load_host().registry("camelid_objectives"), DEFAULT_OBJECTIVE, ELSEWHERE)


def read_export(value: Any) -> ExportSection:
    """The `[to]` section that `value` means; a type has to be given.

    Raises:
        ValidationError: no such exporter, or a field that it does not have.
    """
    return _read(value, ExportSection, load_host().registry("camelid_exporters"), "", EXPORTERS_ELSEWHERE)


def _read(
    value: Any, base: type[SectionT], choices: Registry[Any], default: str, elsewhere: Mapping[str, str]
) -> SectionT:
    """The section that `value` means. Each of `choices` has the class of its section as `config`.

    `elsewhere` maps names that no installed distribution gives to the distribution to install.

    Raises:
        ValidationError: no such choice, or a field that it does not have.
    """
    if isinstance(value, base):
        return value
    if not isinstance(value, Mapping):
        raise _error((), "a section with a type is needed", value)
    name = value.get("type", default)
    try:
        config = choices[str(name)].config
    except UnavailableName:  # the plugin is at fault, and not what was written
        raise
    except UnknownName as unknown_name:
        missing = elsewhere.get(str(name))
        text = f"needs a plugin that is not installed; type: pip install {missing}" if missing else str(unknown_name)
        raise _error(("type",), text.rstrip("."), name) from None
    unknown = sorted(str(key) for key in set(value) - set(config.model_fields))
    if unknown:
        known = sorted(config.model_fields)
        hint = f"unknown key for {name!r}.{did_you_mean(unknown[0], known)} Known: {', '.join(known)}"
        raise _error((unknown[0],), hint, value[unknown[0]])
    section: SectionT = config.model_validate(dict(value))
    return section


def _error(loc: tuple[str, ...], text: str, given: Any) -> ValidationError:
    escaped = text.replace("{", "{{").replace("}", "}}")
    detail = InitErrorDetails(type=PydanticCustomError("section", escaped), loc=loc, input=given)
    return ValidationError.from_exception_data("section", [detail])
