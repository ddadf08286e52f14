"""Resolves the name of a model to a model on disk: registered names, artefacts, directories, Hub ids.

Knows where models live and what a directory is. Loads no weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from camelid_core.artefacts import Manifest, is_artefact, read_artefact
from camelid_core.errors import ModelError, UnknownName, UsageError
from camelid_core.licences import combined, licence_id, stated_licence
from camelid_core.paths import HUB_PREFIX, LOCAL_HUB_PREFIX, artefacts_dir, models_dir, safe_name, validated_path
from camelid_core.plugins import Host
from camelid_core.templates.hf_chat_template import MODEL_TEMPLATE, read_chat_template

from .adapters import ModelAdapter, PullableModel, adapter_for
from .checkpoint_converters import CheckpointConverter, refuse_unconverted
from .gguf import SUFFIX, gguf_config, gguf_files, gguf_metadata, has_tokenizer_file, is_gguf
from .hub_names import MAIN, parse_branch_name, require_branch
from .known_models import known_by_content
from .legacy_gptq import loadable_gptq
from .rope import rope_parameters
from .stray_files import refuse_stray_files

_ADAPTER_CONFIG = "adapter_config.json"
_DIFF_CARD, _CARD_BYTES = b"this model is a model diff", 65_536
"""What the cards of weight diffs say (Tulu's, for one)."""


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model found on disk for the name that was typed. `base` always holds full weights: a directory, or a GGUF file.
    `adapter_dir` is the adapter's directory where `name` is an adapter; `adapter` is the model family. `template` is
    the registered name of the prompt template, empty if none is known, for the `template_reason`; `base_template` is
    that of an adapter's base.
    `config` is what the model is loaded with: its file's, or where `rope_scaled` with RoPE scaling applied.
    """

    name: str
    base: Path
    adapter: ModelAdapter
    config: dict[str, Any]
    base_id: str
    licence: str = "unknown"
    adapter_dir: Path | None = None
    template: str = ""
    manifest: Manifest | None = None
    rope_scaled: bool = False
    base_template: str = ""
    template_reason: str = ""

    @property
    def generator(self) -> Sequence[str]:
        """Terms of the services that wrote what it was trained on, as far as its manifest tells."""
        return self.manifest.licences.generator if self.manifest else ()


def pullable_models(adapters: Iterable[ModelAdapter]) -> dict[str, tuple[PullableModel, ModelAdapter]]:
    return {pullable.name: (pullable, adapter) for adapter in adapters for pullable in adapter.pullable}


def pulled_dir(hub_id: str) -> Path:
    """The directory of the Hub's `org/name` or `org/name:branch` once it was pulled.

    Raises:
        UsageError: not as a name of one directory.
    """
    _refuse_prefix(hub_id)
    if ":" not in hub_id:
        return models_dir() / safe_name(hub_id.replace("/", "--"), "model")
    named = parse_branch_name(hub_id)
    if named is None or named.hub:
        raise UsageError(f"model {hub_id!r} cannot be pulled; write ORG/NAME:BRANCH.")
    parts = (*named.repository.split("/"), *([named.branch] if named.branch != MAIN else []))
    return models_dir() / "--".join(safe_name(part, "model") for part in parts)


def resolve_model(name: str, host: Host, gguf: bool = True) -> ResolvedModel:
    """Find what `name` means: a directory, a published artefact, a registered model, or a Hub id already fetched;
    or a GGUF file, unless what is wanted is more than its answers.

    Raises:
        UsageError: it is written as a dataset of the Hub is.
        UnknownName: nothing of that name, with what to type to get it.
        ModelError: a directory that holds neither a model nor an adapter, or what no model has; or an adapter without
            its base.
    """
    _refuse_prefix(name)
    known = pullable_models(host.adapters)
    found = _find(name, known)
    if found is not None:
        resolved = _from_directory(name, found, host)
        if is_gguf(resolved.base) and not gguf:
            raise ModelError(
                f"{name!r} is a GGUF file, which can be talked to, served and asked, but neither trained nor merged; "
                "name the Transformers directory that it was made from."
            )
        return resolved
    if name.lower().endswith(SUFFIX):
        raise ModelError(f"there is no file {name!r}.")
    if name in known:
        raise ModelError(f"model {name!r} is not here yet; type `camelid models pull {name}`.")
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        raise ModelError(f"model {name!r} is not here yet; type `camelid models pull {name}` to get it from the Hub.")
    local = [path.name for root in (artefacts_dir(), models_dir()) if root.is_dir() for path in root.iterdir()]
    raise UnknownName("model or artefact", name, {*known, *local}, "camelid models list")


def manifest_of(name: str, host: Host) -> Manifest | None:
    """The manifest of the artefact that `name` means, whether or not its base is here; None for everything else."""
    found = _find(name, pullable_models(host.adapters))
    return read_artefact(found).manifest if found is not None and is_artefact(found) else None


def _refuse_prefix(name: str) -> None:
    if name.startswith(HUB_PREFIX):
        raise UsageError(
            f"{name!r} is how data of the Hub are named; a model's name there has no {HUB_PREFIX!r} before it: "
            f"{name.removeprefix(HUB_PREFIX)!r}."
        )


def _find(name: str, known: Mapping[str, tuple[PullableModel, ModelAdapter]]) -> Path | None:
    """The directory or GGUF file that `name` means; a registered name means the pulled model alone.

    A Hub id is what was pulled by it, else what was pulled by the name it is registered under, else what is in Hugging
    Face's cache. `hub:` before it means a local hub.
    """
    if name.startswith(LOCAL_HUB_PREFIX) and (published := parse_branch_name(name)) is not None:
        return _file_or_directory(require_branch(published), published.file)
    paths = [validated_path(name, "model"), artefacts_dir() / name, models_dir() / name]
    with suppress(UsageError):  # no Hub id, but perhaps a path
        paths.append(pulled_dir(name))
    paths += [models_dir() / pullable.name for pullable, _ in known.values() if pullable.hub_id == name]
    for path in paths:
        if (path.is_dir() or is_gguf(path)) and (name not in known or path.parent == models_dir()):
            return path.resolve() if path.is_dir() else path.absolute()  # a link's target may be named otherwise
    return _in_cache(name)


def _in_cache(name: str) -> Path | None:
    """What Hugging Face's cache holds of `ORG/NAME[:BRANCH]`, if its weights are there."""
    named = parse_branch_name(name)
    found = named.directory() if named else None
    if found is None or not (any(found.glob("*.safetensors")) or gguf_files(found)):
        return None
    return _file_or_directory(found, named.file if named else "")


def _file_or_directory(directory: Path, file: str) -> Path | None:
    """A published directory, whatever links lead to it, or one GGUF file in it, which may be a link itself."""
    if not file:
        return directory.resolve()
    return directory.resolve() / file if is_gguf(directory / file) else None


def _from_directory(name: str, path: Path, host: Host) -> ResolvedModel:
    refuse_stray_files(path)
    if path.is_file():
        return _gguf_reference(name, path, None, host)
    path = loadable_gptq(path)
    manifest = read_artefact(path).manifest if is_artefact(path) else None
    if manifest.kind == "diff" if manifest else _says_diff(path):
        raise ModelError(
            f"{name!r} is a weight diff: what was added to its base, and no model by itself. Type "
            f"`camelid diff recover {name} BASE` with its base first."
        )
    if (path / _ADAPTER_CONFIG).is_file():
        return _adapter_reference(name, path, manifest, host)
    files = [] if any(path.glob("*.safetensors")) else gguf_files(path)
    if len(files) > 1:
        names = ", ".join(repr(file.name) for file in files)
        raise ModelError(f"{str(path)!r} holds several GGUF files ({names}); name one of them.")
    if files:
        return _gguf_reference(name, files[0], manifest, host)
    if not (path / "config.json").is_file():
        if several := sorted(each.parent.name for each in path.glob("*/config.json")):
            raise ModelError(f"{name!r} holds several models: {', '.join(several)}. Name one: {name}/{several[-1]}.")
        raise ModelError(f"{str(path)!r} is neither a model (config.json) nor an adapter ({_ADAPTER_CONFIG}).")
    config = read_config(path, host.converters)
    adapter = adapter_for(str(config.get("model_type", "")), host.adapters, _made_by_converter(manifest))
    known = pullable_models(host.adapters).values()
    here = path.name if path.parent == models_dir().resolve() else ""  # the same model by its path
    pullable = next(
        (each for each, _ in known if name in (each.name, each.hub_id) or (here and here == each.name)), None
    )
    brought = read_chat_template(path)
    template, reason = _template(manifest, pullable, known_by_content(config, brought, path, adapter), brought, adapter)
    return ResolvedModel(
        name=name,
        base=path,
        adapter=adapter,
        config=config,
        base_id=pullable.hub_id if pullable else (manifest.base.id if manifest and manifest.base else name),
        licence=pullable.licence if pullable else (manifest.licences.effective if manifest else stated_licence(path)),
        template=template,
        manifest=manifest,
        template_reason=reason,
    )


def _made_by_converter(manifest: Manifest | None) -> str:
    """The converter that made a model; empty for any other."""
    made = manifest.parameters.get("conversion") if manifest else None
    return str(made.get("converter", "")) if isinstance(made, dict) else ""


def _says_diff(path: Path) -> bool:
    """Whether a directory without a manifest is a weight diff, as its files or its card say."""
    card = path / "README.md"
    if any(path.glob("diff*.safetensors")):
        return True
    return card.is_file() and _DIFF_CARD in card.read_bytes()[:_CARD_BYTES].lower()


def _gguf_reference(name: str, path: Path, manifest: Manifest | None, host: Host) -> ResolvedModel:
    metadata = gguf_metadata(path)
    config = gguf_config(metadata)
    adapter = adapter_for(str(config["model_type"]), host.adapters)
    brought = (read_chat_template(path.parent) if has_tokenizer_file(path) else "") or str(
        metadata.get("tokenizer.chat_template") or ""
    )
    template, reason = _template(manifest, None, known_by_content(config, brought, None, adapter), brought, adapter)
    return ResolvedModel(
        name=name,
        base=path,
        adapter=adapter,
        config=config,
        base_id=manifest.base.id if manifest and manifest.base else name,
        licence=manifest.licences.effective if manifest else licence_id(str(metadata.get("general.license") or "")),
        template=template,
        manifest=manifest,
        template_reason=reason,
    )


def _adapter_reference(name: str, path: Path, manifest: Manifest | None, host: Host) -> ResolvedModel:
    config = read_object(path / _ADAPTER_CONFIG)
    candidates = [config.get("base_model_name_or_path") or ""]
    if manifest is not None and manifest.base is not None:
        candidates = [manifest.base.path, manifest.base.id, *candidates]
    known = pullable_models(host.adapters)
    for candidate in filter(None, candidates):
        found = _find(candidate, known)
        if found is None:
            continue
        if (found / _ADAPTER_CONFIG).is_file():
            raise ModelError(
                f"adapter {name!r} sits on {candidate!r}, which is an adapter itself; merge that one first."
            )
        base = _from_directory(candidate, found, host)
        if is_gguf(base.base):
            raise ModelError(
                f"adapter {name!r} sits on {candidate!r}, a GGUF file, which takes no adapters; name the Transformers "
                "directory that the file was made from, or merge the adapter and make a GGUF file of the result."
            )
        resolved = ResolvedModel(
            name=name,
            base=base.base,
            adapter=base.adapter,
            config=base.config,
            base_id=base.base_id,
            licence=manifest.licences.effective if manifest else combined([base.licence, stated_licence(path)]),
            adapter_dir=path,
            template=manifest.template.name if manifest and manifest.template else base.template,
            base_template=base.template,
            manifest=manifest,
            template_reason=_TRAINED if manifest and manifest.template else base.template_reason,
        )
        return with_trained_rope(resolved)
    raise ModelError(
        f"adapter {name!r} needs its base model {candidates[0]!r}, which is not here; pull or copy it first."
    )


def adapter_targets(resolved: ResolvedModel) -> list[str]:
    """The layers that an adapter adapts, by its own configuration; empty where it is none or names none."""
    if resolved.adapter_dir is None:
        return []
    targets = read_object(resolved.adapter_dir / _ADAPTER_CONFIG).get("target_modules") or []
    return [targets] if isinstance(targets, str) else sorted(map(str, targets))


def read_config(path: Path, converters: Iterable[CheckpointConverter] = ()) -> dict[str, Any]:
    """A model's `config.json`, refused if it asks to run code, or if one of `converters` must convert the model first.

    Raises:
        ModelError: unreadable, in its authors' own format, or a key that makes libraries import code from the model.
    """
    config = read_object(path / "config.json")
    refuse_unconverted(config, path, converters)
    return config


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises ModelError: unreadable, or something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{str(path)!r} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise ModelError(f"{str(path)!r} must hold a JSON object, not a {type(value).__name__}.")
    return value


_TRAINED = "it was trained with it"


def _template(
    manifest: Manifest | None,
    named: PullableModel | None,
    alike: PullableModel | None,
    chat_template: str,
    adapter: ModelAdapter,
) -> tuple[str, str]:
    """The template it was trained with; else the registered one of the model that it is by its name or its content;
    else its own; else its family's. And why that one."""
    if manifest is not None and manifest.template is not None:
        return manifest.template.name, _TRAINED
    if named and named.template:
        return named.template, f"registered for {named.name!r}"
    if alike:
        return alike.template, f"registered for {alike.name!r}, whose sizes and chat template it has"
    if chat_template:
        return MODEL_TEMPLATE, "its own chat template"
    return adapter.template, f"the default of family {adapter.name!r}; it brings no chat template"


def with_trained_rope(resolved: ResolvedModel) -> ResolvedModel:
    """An adapter's base model with the RoPE scaling that the adapter was trained with; any other model unchanged."""
    manifest = resolved.manifest
    trained = manifest.rope_scaling if manifest is not None and resolved.adapter_dir is not None else None
    if not trained or trained.get("rope_type", "default") == "default" or trained == rope_parameters(resolved.config):
        return resolved
    return with_rope_parameters(resolved, trained, resolved.config.get("max_position_embeddings", 0))


def with_rope_parameters(resolved: ResolvedModel, parameters: dict[str, Any], longest: int) -> ResolvedModel:
    """The model under these rotary parameters; `longest` is the context length of the base model."""
    if parameters["rope_type"] != "dynamic":
        longest = int(longest * float(parameters.get("factor", 1)))
    config = {key: value for key, value in resolved.config.items() if key not in ("rope_scaling", "rope_theta")}
    return replace(
        resolved, config={**config, "rope_parameters": parameters, "max_position_embeddings": longest}, rope_scaled=True
    )
