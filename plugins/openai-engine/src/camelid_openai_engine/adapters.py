"""Weights and adapters of a server: those that it starts with, and adapters that it loads and unloads while it runs.

Knows files on disk, and a flavour's arguments and paths for them. Knows nothing of requests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

from camelid_core.errors import ModelError
from camelid_core.models.gguf import is_gguf
from camelid_core.models.resolved_model import ResolvedModel
from camelid_serve.engine import CannotShare

from .flavours import LaunchSpec


def label(name: str) -> str:
    """A name that fits into an argument and a URL: the last part of a path or id."""
    return name.rstrip("/").rpartition("/")[2] or "model"


def weights_for(resolved: ResolvedModel, title: str, start: LaunchSpec) -> dict[str, str]:
    """What {model} and {gguf} stand for.

    Raises:
        ModelError: weights of a kind that the program does not read.
    """
    if resolved.rope_scaled:
        raise ModelError(f"{title} reads positions from the model's own files; merge {resolved.name!r} first.")
    if start.weights == "own":
        return {"model": "", "gguf": ""}
    if start.weights == "gguf":
        return {"model": "", "gguf": str(_gguf(resolved, title))}
    if is_gguf(resolved.base):
        raise ModelError(f"{title} is given Transformers models here; {resolved.name!r} is a GGUF file.")
    return {"model": str(resolved.base), "gguf": ""}


def _gguf(resolved: ResolvedModel, title: str) -> Path:
    files = [resolved.base] if is_gguf(resolved.base) else sorted(resolved.base.glob("*.gguf"))
    if len(files) != 1:
        found = "holds none" if not files else f"holds {len(files)}; name one of them"
        raise ModelError(f"{title} needs a GGUF file, and {str(resolved.base)!r} {found}.")
    return files[0]


PostRequest = tuple[str, Mapping[str, str]]
"""A path, and the JSON body that is posted there."""


class AdapterRegistry(Protocol):
    """The adapters that a server has: our name for each, and the name that requests use there."""

    def add(self, resolved: ResolvedModel) -> tuple[str, str]:
        """Add an adapter; returns both names.

        Raises:
            ModelError: the server does not have it, or does not accept it.
        """

    def unload_request(self, name: str) -> PostRequest | None:
        """The request that unloads an adapter, to be posted before `remove`; None if none is needed."""

    def remove(self, name: str) -> None:
        """Remove an adapter; another may take its name."""


class ListedAdapters:
    """The adapters of a server that runs already: those that it lists."""

    def __init__(self, names: Collection[str], where: str) -> None:
        self._names = names
        self._where = where

    def add(self, resolved: ResolvedModel) -> tuple[str, str]:
        for name in (resolved.name, label(resolved.name)):
            if name in self._names:
                return name, name
        listed = ", ".join(map(repr, self._names))
        raise ModelError(f"{self._where} has no adapter {label(resolved.name)!r}; it lists {listed}. Load it there.")

    def unload_request(self, name: str) -> PostRequest | None:
        return None

    def remove(self, name: str) -> None:
        """It stays loaded there."""


class ManagedAdapters:
    """The adapters of a server that we started: the first are arguments of its start, others are posted. A restart
    passes all of them as arguments."""

    def __init__(self, title: str, start: LaunchSpec, base: str, pattern: str) -> None:
        self._title = title
        self._start = start
        self._base = base
        self._pattern = pattern
        self._loaded: dict[str, ResolvedModel] = {}
        self._largest = 0
        """Highest LoRA rank that the running server accepts."""
        self.post: Callable[[str, Mapping[str, str]], None] | None = None

    def add(self, resolved: ResolvedModel) -> tuple[str, str]:
        if not self._start.adapters:
            raise ModelError(f"{self._title} takes no adapters here; merge {resolved.name!r} and serve the result.")
        if self._rank(resolved) > self._largest and self.post is not None:
            condition = f"for adapters of rank {self._largest} at most" if self._largest else "without adapters"
            raise CannotShare(f"{self._title} was started {condition}; start it with {resolved.name!r}.")
        name = label(resolved.name)
        while name in self._loaded or name == self._base:
            name += "-"
        if self.post is not None:
            self.post(self._start.add_adapter, {"lora_name": name, "lora_path": str(resolved.adapter_dir)})
        self._loaded[name] = resolved
        return name, self._pattern.format(name=self._base, adapter=name)

    def unload_request(self, name: str) -> PostRequest | None:
        return (self._start.remove_adapter, {"lora_name": name}) if self.post is not None else None

    def remove(self, name: str) -> None:
        self._loaded.pop(name, None)

    def arguments(self) -> list[str]:
        """Arguments for the server's start: it accepts further adapters only if it starts with some."""
        loaded = dict(self._loaded)  # some may go meanwhile
        most = max(map(self._rank, loaded.values()), default=0)
        self._largest = rank = next((each for each in self._start.ranks if each >= most > 0), most)
        if not loaded:
            return []
        each = [self._start.adapter.format(name=name, path=adapter.adapter_dir) for name, adapter in loaded.items()]
        return [*(part.format(rank=rank) for part in self._start.adapters), *each]

    def _rank(self, resolved: ResolvedModel) -> int:
        if resolved.adapter_dir is None:
            raise ModelError(f"{resolved.name!r} is a whole model, not an adapter.")
        config: dict[str, Any] = json.loads((resolved.adapter_dir / "adapter_config.json").read_text(encoding="utf-8"))
        if config.get("peft_type") != "LORA":
            kind = config.get("peft_type")
            raise ModelError(f"{self._title} takes LoRA adapters alone; {resolved.name!r} is {kind}. Merge it first.")
        return max([int(config["r"]), *map(int, (config.get("rank_pattern") or {}).values())])
