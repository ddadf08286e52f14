"""The pool of resident engines: models with the same base share one, on which adapters are loaded and unloaded.

Knows files on disk and which models can share an engine. Knows nothing of labels, templates and requests.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.models.resolved_model import ResolvedModel
from camelid_core.models.rope import rope_parameters

from .engine import CanDie, CannotShare, Engine, HotSwapsAdapters, Report
from .engine_spec import ChosenEngine

Placement = tuple[Engine, str | None]
"""An engine, and the name that the model's adapter has there."""

_WEIGHT_SUFFIXES = {".safetensors", ".json", ".gguf"}
"""Files that show whether a model on disk is still the one that was loaded."""


@dataclass
class _ResidentEngine:
    """An engine, the identity of its base, and the names of its adapters by their identities."""

    engine: Engine
    base: Any
    adapters: dict[Any, str] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        return not isinstance(self.engine, CanDie) or self.engine.alive

    @property
    def serves_base(self) -> bool:
        """Whether other models may use its base."""
        return not isinstance(self.engine, HotSwapsAdapters) or self.engine.serves_base


class EnginePool:
    """Engines of one dtype, each with `slots` requests at once."""

    def __init__(self, dtype: str = "auto", slots: int = 16) -> None:
        self._dtype = dtype
        self._slots = slots
        self._residents: list[_ResidentEngine] = []

    def place(self, resolved: ResolvedModel, chosen: ChosenEngine, report: Report, share: bool = False) -> Placement:
        """Place a model: on an engine that has its base, else on a new one.

        Raises:
            ModelError: it cannot be loaded; or it must `share`, and no engine has its base.
        """
        base, adapter = _base_identity(resolved), _adapter_identity(resolved)
        candidates = [resident for resident in self._residents if resident.base == base and resident.alive]
        for resident in candidates:
            if adapter is None and resident.serves_base:
                return resident.engine, None
            if adapter in resident.adapters:
                return resident.engine, resident.adapters[adapter]
        report(f"Reading {resolved.base_id}" + (f" with adapter {resolved.name}" if resolved.adapter_dir else ""))
        why: ModelError = CannotShare(f"no model is resident that has the base of {resolved.name!r}.")
        for resident in candidates:
            try:
                return self._add_adapter(resident, resolved, adapter, report)
            except CannotShare as error:
                why = error
        if share:
            raise why
        engine = chosen.open(resolved, self._dtype, self._slots, report)
        resident = _ResidentEngine(engine, base)
        self._residents.append(resident)
        name = engine.adapters[0] if engine.adapters else None
        if adapter is not None and name is not None:
            resident.adapters[adapter] = name
        return engine, name

    def keep_for(self, resolved_models: Iterable[ResolvedModel]) -> None:
        """Free the engines and adapters that none of these models needs."""
        wanted = list(resolved_models)
        bases, adapters = {_base_identity(each) for each in wanted}, {_adapter_identity(each) for each in wanted}
        used: set[Placement] = set()
        for resident in self._residents:
            own = {name for adapter, name in resident.adapters.items() if adapter in adapters}
            if resident.base in bases and (own or resident.serves_base):
                used |= {(resident.engine, name) for name in own} | {(resident.engine, None)}
        self.keep(used)

    def keep(self, used: set[Placement]) -> None:
        """Free engines and adapters that are not in `used`, or dead. Running requests under an adapter end first."""
        engines = {engine for engine, _ in used}
        for resident in tuple(self._residents):
            idle = {adapter: name for adapter, name in resident.adapters.items() if (resident.engine, name) not in used}
            stays = resident.alive and (not idle or isinstance(resident.engine, HotSwapsAdapters))
            if resident.engine not in engines or not stays:
                self._residents.remove(resident)
                resident.engine.close()
                continue
            for adapter, name in idle.items():
                del resident.adapters[adapter]
                resident.engine.remove_adapter(name)  # type: ignore[attr-defined]

    def close(self) -> None:
        self.keep(set())

    def _add_adapter(
        self, resident: _ResidentEngine, resolved: ResolvedModel, adapter: Any, report: Report
    ) -> Placement:
        if not isinstance(resident.engine, HotSwapsAdapters):
            raise CannotShare(f"the engine that has the base of {resolved.name!r} holds one adapter per base.")
        name = resident.adapters[adapter] = resident.engine.add_adapter(resolved)
        turns = resident.engine.why_not_batched(name)
        if turns:
            report(f"Requests to {resolved.name} take turns with others, as {turns}")
        return resident.engine, name


def _base_identity(resolved: ResolvedModel) -> Any:
    """Identity of a base, which models must have in common to share an engine: weights on disk and RoPE scaling."""
    return _files_identity(resolved.base), json.dumps(rope_parameters(resolved.config), sort_keys=True)


def _adapter_identity(resolved: ResolvedModel) -> Any:
    return None if resolved.adapter_dir is None else _files_identity(resolved.adapter_dir)


def _files_identity(path: Path) -> Any:
    """A path, and sizes and times of its files: changes when another model is written there."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    facts = [(file.name, file.stat()) for file in files if file.suffix in _WEIGHT_SUFFIXES and file.exists()]
    return path, tuple((name, found.st_size, found.st_mtime_ns) for name, found in facts)
