"""Engines that are resident: those whose models have one base share one, and adapters come and go on it.

Knows what lies on disk and who can share. Knows nothing of labels, templates and requests.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.models.reference import Reference
from camelid_core.models.rope import rope_parameters

from .engine import CanFail, CannotShare, Engine, Report, TakesAdapters
from .engine_spec import ChosenEngine

Placed = tuple[Engine, str | None]
"""An engine, and the name that the model's adapter has there."""

_TELLING = {".safetensors", ".json", ".gguf"}
"""Files that say whether a model is still the one that was loaded."""


@dataclass
class _Held:
    """An engine, what its base is, and its adapters' names there by what they are."""

    engine: Engine
    base: Any
    adapters: dict[Any, str] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        return not isinstance(self.engine, CanFail) or self.engine.alive

    @property
    def shares(self) -> bool:
        """Whether others may use its base as it is."""
        return not isinstance(self.engine, TakesAdapters) or self.engine.shares


class Engines:
    """All models in one number format, each engine with `slots` requests at once."""

    def __init__(self, dtype: str = "auto", slots: int = 16) -> None:
        self._dtype = dtype
        self._slots = slots
        self._held: list[_Held] = []

    def place(self, reference: Reference, chosen: ChosenEngine, report: Report, share: bool = False) -> Placed:
        """Where the model runs: on an engine that has its base, else on one of its own.

        Raises:
            ModelError: it cannot be loaded; or it must `share`, and no engine has its base.
        """
        base, adapter = _base(reference), _adapter(reference)
        there = [held for held in self._held if held.base == base and held.alive]
        for held in there:
            if adapter is None and held.shares:
                return held.engine, None
            if adapter in held.adapters:
                return held.engine, held.adapters[adapter]
        report(f"Loading {reference.base_id}" + (f" with adapter {reference.name}" if reference.peft else ""))
        why: ModelError = CannotShare(f"no model is resident that has the base of {reference.name!r}.")
        for held in there:
            try:
                return self._add(held, reference, adapter, report)
            except CannotShare as error:
                why = error
        if share:
            raise why
        engine = chosen.open(reference, self._dtype, self._slots, report)
        held = _Held(engine, base)
        self._held.append(held)
        name = engine.adapters[0] if engine.adapters else None
        if adapter is not None and name is not None:
            held.adapters[adapter] = name
        return engine, name

    def keep_for(self, references: Iterable[Reference]) -> None:
        """Free what none of these models needs."""
        wanted = list(references)
        bases, adapters = {_base(each) for each in wanted}, {_adapter(each) for each in wanted}
        used: set[Placed] = set()
        for held in self._held:
            own = {name for adapter, name in held.adapters.items() if adapter in adapters}
            if held.base in bases and (own or held.shares):
                used |= {(held.engine, name) for name in own} | {(held.engine, None)}
        self.keep(used)

    def keep(self, used: set[Placed]) -> None:
        """Free engines and adapters that are not in use, or dead. What runs under an adapter ends first."""
        engines = {engine for engine, _ in used}
        for held in tuple(self._held):
            idle = {adapter: name for adapter, name in held.adapters.items() if (held.engine, name) not in used}
            stays = held.alive and (not idle or isinstance(held.engine, TakesAdapters))
            if held.engine not in engines or not stays:
                self._held.remove(held)
                held.engine.close()
                continue
            for adapter, name in idle.items():
                del held.adapters[adapter]
                held.engine.remove_adapter(name)  # type: ignore[attr-defined]

    def close(self) -> None:
        self.keep(set())

    def _add(self, held: _Held, reference: Reference, adapter: Any, report: Report) -> Placed:
        if not isinstance(held.engine, TakesAdapters):
            raise CannotShare(f"the engine that has the base of {reference.name!r} holds one adapter per base.")
        name = held.adapters[adapter] = held.engine.add_adapter(reference)
        turns = held.engine.takes_turns(name)
        if turns:
            report(f"Requests to {reference.name} take turns with others, as {turns}")
        return held.engine, name


def _base(reference: Reference) -> Any:
    """Weights on disk and how their positions are scaled: what models must have in common to share an engine."""
    return _files(reference.base), json.dumps(rope_parameters(reference.config), sort_keys=True)


def _adapter(reference: Reference) -> Any:
    return None if reference.peft is None else _files(reference.peft)


def _files(path: Path) -> Any:
    """Changes when somebody writes another model there."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    facts = [(file.name, file.stat()) for file in files if file.suffix in _TELLING and file.exists()]
    return path, tuple((name, found.st_size, found.st_mtime_ns) for name, found in facts)
