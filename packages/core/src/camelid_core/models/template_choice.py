"""Which prompt template a model is asked and trained with: one rule for every command, task and page.

The one that a person chose, else the model's own. A template that nobody registers any more, because its plugin is
gone, is had from the artefact that was trained with it. Knows manifests and registries. Reads no tokenizer.
"""

from __future__ import annotations

from contextlib import suppress

from camelid_core.artefacts import Manifest, is_artefact, read_artefact
from camelid_core.errors import ArtefactError, ModelError, UsageError
from camelid_core.paths import artefacts_dir
from camelid_core.plugins import Host
from camelid_core.templates.hf_chat_template import StoredTemplate
from camelid_core.templates.template import PromptTemplate

from .plugin_versions import missing_plugins
from .resolved_model import ResolvedModel


def template_of(resolved: ResolvedModel, host: Host, chosen: str = "") -> PromptTemplate:
    """The `chosen` template, else the model's own.

    Raises:
        ModelError: none is known for this model.
        UnknownName, UsageError: no template has that name here, and this model holds none of that name.
    """
    return _registered_or_stored(chosen or resolved.template, resolved.name, resolved.manifest, host)


def base_template_of(resolved: ResolvedModel, host: Host) -> PromptTemplate:
    """The own template of an adapter's base model. Raises as `template_of` does."""
    manifest = read_artefact(resolved.base).manifest if is_artefact(resolved.base) else None
    return _registered_or_stored(resolved.base_template, resolved.base_id, manifest, host)


def template_named(name: str, host: Host) -> PromptTemplate:
    """The registered template of that name.

    Raises:
        UsageError: its plugin is gone, and an artefact here was trained with it.
        UnknownName: nothing here knows it.
    """
    if name not in host.templates:
        for path in sorted(artefacts_dir().iterdir()) if artefacts_dir().is_dir() else ():
            with suppress(ArtefactError):  # being written, or damaged
                manifest = read_artefact(path).manifest
                if manifest.template is not None and manifest.template.name == name:
                    raise UsageError(
                        f"{_remedy(name, manifest, host)} {path.name!r} was trained with it and brings its Jinja, "
                        f"which is used where that is the model: --tokens {path.name}, --model {path.name}."
                    )
    found: PromptTemplate = host.templates[name]
    return found


def _registered_or_stored(name: str, model: str, manifest: Manifest | None, host: Host) -> PromptTemplate:
    if not name:
        raise ModelError(f"no template is known for {model!r}; choose one: {', '.join(host.templates.names())}.")
    contract = manifest.template if manifest is not None else None
    if name in host.templates or manifest is None or contract is None or contract.name != name:
        return template_named(name, host)
    if not contract.jinja:
        raise UsageError(f"{_remedy(name, manifest, host)} {model!r} was trained with it and does not bring its Jinja.")
    return StoredTemplate(name, contract.jinja, _remedy(name, manifest, host))


def _remedy(name: str, manifest: Manifest, host: Host) -> str:
    """How to get a template that nobody registers: the plugins that were there when it was trained with."""
    gone = missing_plugins(manifest, host)
    if not gone:
        there = ", ".join(f"{plugin} {version}" for plugin, version in manifest.plugins.items()) or "no plugin"
        return f"Template {name!r} is not here any more; it was there with {there}."
    return f"Template {name!r} is not here: its plugin is not installed; pip install {' or '.join(gone)}."
