"""Checkpoint converters: how a checkpoint in the format of its authors' own code is recognised, as data.

Knows configurations (`config.json`) and what is said about a model that needs converting. Converts nothing itself:
that is `conversion`, and a converter's function is imported when it runs.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError

ConversionProgress = Callable[[int, int, str], None]
"""Called before each tensor with how many are done, how many there are, and its name."""


@dataclass(frozen=True, slots=True)
class Converted:
    """What a converter knows about its result beside the files: `template`, the registered prompt template that it was
    trained with (empty for a model without one), and sentences about what was left out or inferred."""

    template: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckpointConverter:
    """One format. A `config.json` is of it if `model_type` is among `model_types`, an architecture among
    `architectures` (where there are any), all keys of `has` are in it and none of `lacks`.

    `target` is the result's model type. `function` is `module:function`, called as `function(source, output, progress)`
    with the original directory, an empty directory beside the final one, and `ConversionProgress`. It writes
    `config.json`, safetensors weights and tokenizer files, returns `Converted`, and raises CamelidError with the
    tensor's name where a checkpoint is not as its configuration says. Licence texts, generation settings, chat template
    and manifest are added by `conversion`.

    `adapter_rules` is `module:function` of what gives, for the result's `config.json`, the rules of the weights that
    LoRA can be on, each with one source, whose functions move rows alone. Empty where adapters are not translated.
    """

    name: str
    help: str
    model_types: tuple[str, ...]
    target: str
    function: str
    adapter_rules: str = ""
    architectures: tuple[str, ...] = ()
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()

    def recognises(self, config: Mapping[str, Any]) -> bool:
        named = config.get("architectures")
        architectures = named if isinstance(named, list) else []
        return (
            config.get("model_type") in self.model_types
            and (not self.architectures or any(each in self.architectures for each in architectures))
            and all(key in config for key in self.has)
            and not any(key in config for key in self.lacks)
        )


def converter_for(config: Mapping[str, Any], converters: Iterable[CheckpointConverter]) -> CheckpointConverter | None:
    """The converter that recognises a configuration, None if none does.

    Raises:
        ModelError: several do.
    """
    found = [each for each in converters if each.recognises(config)]
    if len(found) > 1:
        names = ", ".join(repr(each.name) for each in found)
        raise ModelError(f"this checkpoint is recognised by the converters {names}; remove one of their plugins.")
    return found[0] if found else None


def refuse_unconverted(config: Mapping[str, Any], path: Path, converters: Iterable[CheckpointConverter]) -> None:
    """Raise ModelError for a model in the format of its authors' own code, or with a key that makes libraries import
    code from the model; says how it is converted."""
    converter = converter_for(config, converters)
    if converter is not None:
        raise ModelError(
            f"{str(path)!r} is in the format of its authors' own code, which is never run. Converter "
            f"{converter.name!r} makes a standard {converter.target} model of it: type "
            f"`camelid models convert {shlex.quote(str(path))} --out {shlex.quote(path.name + '-converted')}`."
        )
    key = next(_code_keys(config), "")
    if key:
        raise ModelError(
            f"{str(path)!r} is refused: {key!r} in its config.json would run code that came with the model. No "
            f"installed converter knows its model type {config.get('model_type')!r}; install a plugin with one, or "
            "name a model that Transformers reads by itself."
        )


def _code_keys(value: Any) -> Iterator[str]:
    """Keys that make libraries run code from a model, at any depth."""
    if isinstance(value, dict):
        for key, item in value.items():
            name = str(key)
            if name in ("auto_map", "trust_remote_code") or (name.startswith("_") and name.endswith("_internal")):
                yield name
            yield from _code_keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from _code_keys(item)
