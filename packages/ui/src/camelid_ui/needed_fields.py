"""Settings that mean something only under another one: where each needs what.

Knows the fields of our configuration classes by their keys. A field whose value differs from its default is shown all
the same, so that no setting is in force unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
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
        return [self.holds(value) or _normal(each) != _normal(defaults[key]) for key, each in fields.items()]

    def within(self, section: str) -> Need:
        """The same for a class that has these fields in a section."""
        return Need(f"{section}.{self.head}", self.holds, tuple(f"{section}.{key}" for key in self.fields))


def _normal(value: Any) -> Any:
    """The value, however a widget writes it: a number field gives 1 for 1.0."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value or "").strip()


def _is_set(value: Any) -> bool:
    return _normal(value) not in ("", 0)


_GREEDY = Need("temperature", _is_set, ("top_p", "top_k", "min_p", "seed"))
"""At temperature 0 nothing is drawn. (A beam search with a temperature draws too, so `num_beams` excludes none.)"""


NEEDS = (
    Need("launch.strategy", lambda value: value == "deepspeed", ("launch.zero",)),
    Need("eval.steps", _is_set, ("eval.patience", "train.best")),
    Need("eval.samples", _is_set, ("eval.sample_tokens",)),
    Need("train.schedule", lambda value: value != "constant", ("train.warmup",)),
    Need("combine", lambda value: value not in ("", None, "sum"), ("density",)),
    Need("combine", lambda value: str(value).startswith("dare"), ("dare_seed",)),
    _GREEDY,
    _GREEDY.within("sampling"),
)


def needs_among(keys: Collection[str]) -> list[Need]:
    """Those of a class or a form with these fields."""
    return [need for need in NEEDS if {need.head, *need.fields} <= {*keys}]
