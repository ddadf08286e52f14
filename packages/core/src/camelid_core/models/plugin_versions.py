"""The plugins that an artefact was made with, compared with those that are installed.

Knows manifests and registries. Reads no weights. A manifest holds the version of every plugin that was there; whose
template, method, objective or exporter it was, the registries say.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from camelid_core.artefacts import Manifest
from camelid_core.errors import ModelError
from camelid_core.plugins import FIRST_PARTY, Host

from .adapters import UNKNOWN
from .resolved_model import ResolvedModel

_SECTIONS = {
    "method": ("tuning method", "camelid_tuning_methods"),
    "objective": ("objective", "camelid_objectives"),
    "to": ("export format", "camelid_exporters"),
}
"""Sections of an artefact's parameters whose `type` is a plugin's: what it is called, and the hook it comes through."""


def missing_plugins(manifest: Manifest, host: Host) -> list[str]:
    """The plugins that were there when the artefact was made and are not now, as `NAME==VERSION`."""
    here = {plugin.name for plugin in host.plugins}
    return [f"{name}=={version}" for name, version in manifest.plugins.items() if name not in here]


def plugin_notes(resolved: ResolvedModel, host: Host) -> list[str]:
    """A sentence for each thing that the artefact was made with and whose plugin is of another version now, or gone
    though this model can be used without it.

    Raises:
        ModelError: nothing here knows its architecture, and a plugin that did is gone.
    """
    manifest = resolved.manifest
    if manifest is None:
        return []
    _require_family(resolved, manifest, host)
    versions = {plugin.name: plugin.version for plugin in host.plugins}
    notes = []
    for word, hook, name in _made_with(resolved, manifest, host):
        registry = host.registry(hook)
        if name not in registry:
            if missing := missing_plugins(manifest, host):
                notes.append(
                    f"{resolved.name!r} was made with the {word} {name!r}, which is not here: it can be used, and not "
                    f"made again. pip install {' or '.join(missing)}."
                )
            continue
        owner = registry.plugin_of(name)
        then, now = manifest.plugins.get(owner), versions.get(owner)
        if then and owner not in FIRST_PARTY and then != now:
            notes.append(
                f"{resolved.name!r} was made with the {word} {name!r} of {owner} {then}, and {owner} {now} is "
                f"installed here; pip install {owner}=={then} for what it was made with."
            )
    return notes


def _made_with(resolved: ResolvedModel, manifest: Manifest, host: Host) -> Iterator[tuple[str, str, str]]:
    """The word, the hook and the name of what plugins may have given, where the hook is known here."""
    if manifest.template is not None:  # where it is missing and its Jinja too, `template_of` refuses the model
        yield "template", "camelid_prompt_templates", manifest.template.name
    if resolved.adapter.name in host.adapters:
        yield "model family", "camelid_model_adapters", resolved.adapter.name
    known = host.hooks()
    for section, (word, hook) in _SECTIONS.items():
        name = _type_of(manifest.parameters.get(section))
        if name and hook in known:
            yield word, hook, name


def _type_of(section: Any) -> str:
    return str(section.get("type") or "") if isinstance(section, dict) else ""


def _require_family(resolved: ResolvedModel, manifest: Manifest, host: Host) -> None:
    model_type = str(resolved.config.get("model_type", ""))
    missing = missing_plugins(manifest, host) if resolved.adapter is UNKNOWN and model_type else []
    if not missing:
        return
    from transformers import CONFIG_MAPPING

    if model_type not in CONFIG_MAPPING:
        raise ModelError(
            f"{resolved.name!r} is a {model_type!r}, which neither Transformers nor an installed plugin knows; "
            f"pip install {' or '.join(missing)}, one of which it was made with."
        )
