"""The selection for a run in short: model, data, tuning method and objective, as cards show them.

Knows registries, model files and datasets. Loads no weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from camelid_core.datasets.dataset import Source
from camelid_core.datasets.sources import parse_sources
from camelid_core.errors import CamelidError
from camelid_core.models.model_size import parameters, weights_size
from camelid_core.plugins import Host
from camelid_train.config import Recipe

from camelid_ui.field_values import non_default
from camelid_ui.services.data import DataServices, DatasetEntry
from camelid_ui.services.models import ModelService

PLUGIN_SECTIONS = {"method": "camelid_tuning_methods", "objective": "camelid_objectives"}
"""Sections whose `type` names something that plugins provide, and the hook for it."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Sizes are 0 and texts empty where the files do not say."""

    name: str
    family: str = ""
    parameters: int = 0
    size: int = 0
    context: int = 0
    quantised: str = ""


@dataclass(frozen=True, slots=True)
class DataChoice:
    """A source with its weight, and its dataset; None where there is no such dataset."""

    source: Source
    entry: DatasetEntry | None


@dataclass(frozen=True, slots=True)
class SectionChoice:
    """A tuning method or an objective: its `help` text, and the settings that differ from its defaults."""

    section: str
    name: str
    help: str
    settings: Mapping[str, Any]


def model_choice(models: ModelService, name: str) -> ModelChoice:
    try:
        base = models.resolve(name).base
        config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    except (CamelidError, OSError, ValueError):
        return ModelChoice(name)
    return ModelChoice(
        name=name,
        family=str(config.get("model_type", "")),
        parameters=parameters(base),
        size=weights_size(base),
        context=int(config.get("max_position_embeddings") or config.get("n_positions") or 0),
        quantised=str((config.get("quantization_config") or {}).get("quant_method", "")),
    )


def data_choices(data: DataServices, recipe: Recipe) -> list[DataChoice]:
    collection = data.collection
    try:
        sources = parse_sources(recipe.data.sources, collection.host.datasets)
    except CamelidError:
        sources = [Source.parse(text) for text in recipe.data.sources]
    return [DataChoice(source, _entry(data, source.name)) for source in sources]


def section_choices(host: Host, recipe: Recipe) -> list[SectionChoice]:
    """The tuning method, and the objective where there are several."""
    changed = non_default(recipe)
    found = []
    for section in PLUGIN_SECTIONS:
        ways = help_texts(host, section)
        chosen = getattr(getattr(recipe, section, None), "type", "")
        if chosen and (section == "method" or len(ways) > 1):
            prefix = f"{section}."
            settings = {path.removeprefix(prefix): value for path, value in changed.items() if path.startswith(prefix)}
            settings.pop("type", None)
            found.append(SectionChoice(section, chosen, ways.get(chosen, ""), settings))
    return found


def help_texts(host: Host, section: str) -> dict[str, str]:
    """Every tuning method or objective by name, with its help text."""
    try:
        return {way.name: str(way.help) for way in host.registry(PLUGIN_SECTIONS[section])}
    except (CamelidError, KeyError):
        return {}


def _entry(data: DataServices, name: str) -> DatasetEntry | None:
    try:
        return data.collection.find(name)
    except CamelidError:
        return None
