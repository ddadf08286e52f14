"""Converts a checkpoint in its authors' own format to a standard Transformers directory; no code of theirs is run.

The result gets its name when it is complete: converted, compared with the architecture that it names, and described by
a manifest. Knows files beside the weights, and manifests. Each format's own knowledge is in its converter's function.
"""

from __future__ import annotations

import json
import pkgutil
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from camelid_core import staging
from camelid_core.artefacts import BaseModelEntry, Licences, Manifest, write_manifest
from camelid_core.errors import ModelError, UsageError
from camelid_core.json_files import object_in
from camelid_core.licences import stated_licence
from camelid_core.plugins import Host
from camelid_core.template_contract import make_contract

from .adapters import adapter_for
from .checkpoint_converters import CheckpointConverter, ConversionProgress, Converted, converter_for
from .loading import register_classes
from .resolved_model import read_object
from .revisions import hub_commit
from .stray_files import refuse_stray_files
from .template_choice import template_named
from .weight_files import WeightFiles

_LICENCE_FILES = ("*LICENSE*", "*License*", "LICENCE*", "NOTICE*", "Notice*", "USE_POLICY*")
_GENERATION = "generation_config.json"
_CARD, _ORIGINAL_CARD = "README.md", "ORIGINAL_README.md"
Report = Callable[[str], None]


def convert_checkpoint(
    source: Path,
    output: Path,
    host: Host,
    report: Report,
    progress: ConversionProgress,
    base_id: str = "",
    licence: str = "",
    template: str = "",
) -> CheckpointConverter:
    """Make the new directory `output` of the original checkpoint in `source`.

    `base_id` and `licence` are what the original is called and published under, where they are known better than from
    its directory. `template` names its prompt template in place of the one that the converter finds.

    Raises:
        UsageError: `output` is there already.
        ModelError: no converter recognises it, or a tensor is missing, unexpected or of another shape.
        UnknownName: no such template.
    """
    if output.exists():
        raise UsageError(f"{str(output)!r} is there already; give --out a new name, or remove it.")
    if not (source / "config.json").is_file():
        raise ModelError(f"{str(source)!r} holds no checkpoint: it has no config.json.")
    refuse_stray_files(source)
    config = read_object(source / "config.json")
    converter = required_converter(config, source, host)
    if template:
        template_named(template, host)
    report(f"Converting {base_id or source} with {converter.name}: a standard {converter.target} model.")
    output.parent.mkdir(parents=True, exist_ok=True)
    with staging.directory(output) as staged:
        converted = pkgutil.resolve_name(converter.function)(source, staged, progress)
        for note in converted.notes:
            report(note)
        _copy_texts(source, staged)
        _write_generation_config(source, staged)
        register_classes(adapter_for(converter.target, host.adapters))
        _check_result(staged)
        entry = BaseModelEntry(
            id=base_id or source.name,
            path="" if base_id else str(source.resolve()),
            revision=hub_commit(source),
            model_type=str(config.get("model_type", "")),
        )
        _write_manifest(staged, converter, converted, entry, licence or stated_licence(source), template, host)
        staged.replace(output)
    return converter


def required_converter(config: Mapping[str, Any], source: Path, host: Host) -> CheckpointConverter:
    """Raises ModelError: no converter recognises this configuration."""
    converter = converter_for(config, host.converters)
    if converter is None:
        known = ", ".join(host.converters.names()) or "none is installed"
        raise ModelError(
            f"{str(source)!r} is of model type {config.get('model_type')!r}, which no installed converter recognises "
            f"({known}). A model that Transformers reads by itself needs none: name it as it is."
        )
    return converter


def _copy_texts(source: Path, output: Path) -> None:
    for path in {path for pattern in _LICENCE_FILES for path in source.glob(pattern)}:
        if path.is_file() and not (output / path.name).exists():
            shutil.copyfile(path, output / path.name)
    if (source / _CARD).is_file():
        shutil.copyfile(source / _CARD, output / _ORIGINAL_CARD)


def _write_generation_config(source: Path, output: Path) -> None:
    """The original's settings that Transformers knows; keys for its authors' own code are left out."""
    from transformers import GenerationConfig

    found = object_in(source / _GENERATION)
    if not found or (output / _GENERATION).exists():
        return
    known = GenerationConfig().to_dict()
    kept = {key: value for key, value in found.items() if key in known and not key.startswith("_")}
    (output / _GENERATION).write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def _check_result(output: Path) -> None:
    """Raise ModelError where the tensors are not those of the architecture that the new `config.json` names."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(output, local_files_only=True))
    tied = set(getattr(model, "_tied_weights_keys", None) or ()) if model.config.tie_word_embeddings else set()
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    files = WeightFiles(output)
    for name in sorted({*expected, *files.names}):
        if name not in files and name in tied:
            continue
        made = files.shape(name) if name in files else None
        if made != expected.get(name):
            raise ModelError(
                f"the converter made {name!r} of shape {made}, where the new architecture has {expected.get(name)}; "
                "nothing was kept. This is a fault of the converter: report it with the checkpoint's config.json."
            )


def _write_manifest(
    output: Path,
    converter: CheckpointConverter,
    converted: Converted,
    base: BaseModelEntry,
    licence: str,
    template: str,
    host: Host,
) -> None:
    from transformers import AutoTokenizer

    name, contract = template or converted.template, None
    if name:
        tokenizer = AutoTokenizer.from_pretrained(output, local_files_only=True, trust_remote_code=False)
        contract = make_contract(template_named(name, host), tokenizer)
        tokenizer.chat_template = contract.jinja
        tokenizer.save_pretrained(output)
    write_manifest(
        output,
        Manifest(
            kind="model",
            base=base,
            template=contract,
            parameters={"conversion": {"converter": converter.name}},
            licences=Licences.of(licence),
            plugins={plugin.name: plugin.version for plugin in host.plugins},
        ),
    )
