"""The origin of a run: base model, template, data, versions, machine.

Knows how to identify each: fingerprints, digests, versions. Knows nothing of how a run goes.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camelid_core.artefacts import DatasetUse, TemplateContract
from camelid_core.integrity import fingerprint
from camelid_core.models.devices import describe_device
from camelid_core.models.resolved_model import ResolvedModel
from camelid_core.plugins import Host

from camelid_train.config import Recipe

if TYPE_CHECKING:
    from packaging.requirements import Requirement


def origin(
    recipe: Recipe, resolved: ResolvedModel, template: TemplateContract, datasets: Iterable[DatasetUse], host: Host
) -> dict[str, Any]:
    """The `origin` event of a run: base model, template, data, versions, machine."""
    import torch
    from camelid_core.models.loading import choose_dtype

    return {
        "base": {"id": resolved.base_id, "fingerprint": fingerprint(resolved.base)},
        "template": {"name": template.name, "sha256": template.sha256},
        "datasets": [use.model_dump(mode="json") for use in datasets],
        "dtype": str(choose_dtype(recipe.model.dtype)).removeprefix("torch."),
        "machine": {
            "python": platform.python_version(),
            "system": platform.platform(),
            "device": re.sub(r"\W*\d+ GB free$", "", describe_device().description),
            "processor": _processor(),
            "threads": torch.get_num_threads(),
            "cuda": torch.version.cuda or "",
        },
        "packages": installed([plugin.name for plugin in host.plugins]),
        "plugins": {plugin.name: plugin.version for plugin in host.plugins},
    }


def _processor() -> str:
    """The CPU's name, where the system knows it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def installed(roots: Iterable[str]) -> dict[str, str]:
    """These distributions and all their dependencies, with versions; those of extras too, where they are installed."""
    from packaging.requirements import Requirement

    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting: list[tuple[str, frozenset[str] | None]] = [(name, None) for name in roots]
    while waiting:
        name, extras = waiting.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if (key, extras or frozenset()) in seen:
            continue
        seen.add((key, extras or frozenset()))
        there = _metadata(name)
        if there is None:
            continue
        found[key], requirements = there
        for text in requirements:
            wanted = Requirement(text)
            if extras is None or _applies(wanted, extras):
                waiting.append((wanted.name, frozenset(wanted.extras)))
    return dict(sorted(found.items()))


@cache
def _metadata(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Version and requirements of a distribution, read once: what this process has loaded does not change."""
    try:
        there = distribution(name)
    except PackageNotFoundError:
        return None
    return there.version, tuple(there.requires or ())


def _applies(wanted: Requirement, extras: frozenset[str]) -> bool:
    marker = wanted.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""})
