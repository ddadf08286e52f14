"""Settings that mean something only under another one: where each needs what.

Knows paths of recipes. A field whose value differs from its default is shown all the same, so that no setting is in
force unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Need:
    """The field `head` decides by its value whether `fields` mean anything."""

    head: str
    holds: Callable[[Any], bool]
    fields: tuple[str, ...]

    def shown(self, value: Any, fields: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[bool]:
        """Whether each of `fields`, given with their values, is shown while the head has this value."""
        return [self.holds(value) or str(each or "") != str(defaults[key] or "") for key, each in fields.items()]


def _is_set(value: Any) -> bool:
    return str(value if value is not None else "").strip() not in ("", "0")


NEEDS = (
    Need("launch.strategy", lambda value: value == "deepspeed", ("launch.zero",)),
    Need("eval.steps", _is_set, ("eval.patience", "train.best")),
    Need("eval.samples", _is_set, ("eval.sample_tokens",)),
    Need("train.schedule", lambda value: value != "constant", ("train.warmup",)),
)
