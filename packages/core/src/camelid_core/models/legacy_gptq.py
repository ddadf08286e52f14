"""GPTQ models in the folders that auto-gptq wrote, made loadable by what reads them today.

auto-gptq kept its settings in `quantize_config.json` alone, named the weights `gptq_model-4bit-128g.safetensors`, and
in its last releases wrote keys that GPTQModel refuses. What is loaded is a directory beside the models of Camelid's
home, with the settings where Transformers looks for them and a link to the weights; the folder itself stays as it is.
Format: github.com/AutoGPTQ/AutoGPTQ, releases 0.2 to 0.7. Knows files. Loads no weights.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from camelid_core import staging
from camelid_core.errors import ModelError
from camelid_core.json_files import object_in
from camelid_core.paths import models_dir

SETTINGS = "quantize_config.json"
CONVERTED = ".converted"
ORIGIN = "converted-from.txt"
_WEIGHTS = "model.safetensors"
_REFUSED_KEYS = ("is_marlin_format",)
_MOST_BYTES = 100_000_000
"""Of files beside the weights: a tokenizer has some megabytes."""


def loadable_gptq(directory: Path) -> Path:
    """`directory`, or where auto-gptq wrote it, the converted one, which is made when it is first asked for.

    Raises:
        ModelError: no weights, or several files that may be them.
    """
    settings = object_in(directory / SETTINGS)
    if "bits" not in settings or not _is_legacy(directory, settings):
        return directory
    weights = _weights(directory, settings)
    target = models_dir() / CONVERTED / f"{directory.name}-{_state(directory, weights)}"
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        convert_legacy_gptq(directory, settings, weights, target)
    return target


def origin_of(directory: Path) -> str:
    """The folder that a converted directory was made from; empty for any other."""
    path = directory / ORIGIN
    return path.read_text(encoding="utf-8").strip() if directory.parent.name == CONVERTED and path.is_file() else ""


def convert_legacy_gptq(directory: Path, settings: dict[str, Any], weights: Path, target: Path) -> None:
    """Make `target`, with the settings in `config.json` too, and the weights as Transformers expects them named."""
    kept = {key: value for key, value in settings.items() if key not in _REFUSED_KEYS}
    kept["model_file_base_name"] = _WEIGHTS.removesuffix(".safetensors")
    config = {**object_in(directory / "config.json"), "quantization_config": {**kept, "quant_method": "gptq"}}
    with staging.directory(target) as staged:
        for path in sorted(directory.iterdir()):
            if path.is_file() and path.suffix != ".safetensors" and path.stat().st_size < _MOST_BYTES:
                shutil.copyfile(path, staged / path.name)
        (staged / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (staged / SETTINGS).write_text(json.dumps(kept, indent=2), encoding="utf-8")
        (staged / _WEIGHTS).symlink_to(weights.resolve())
        (staged / ORIGIN).write_text(f"{directory}\n", encoding="utf-8")
        staged.rename(target)


def _is_legacy(directory: Path, settings: dict[str, Any]) -> bool:
    stored = object_in(directory / "config.json").get("quantization_config")
    named = (directory / _WEIGHTS).exists() or (directory / f"{_WEIGHTS}.index.json").exists()
    refused = any(key in each for each in (settings, stored or {}) for key in _REFUSED_KEYS)
    return (directory / "config.json").is_file() and (not stored or not named or refused)


def _weights(directory: Path, settings: dict[str, Any]) -> Path:
    files = sorted(directory.glob("*.safetensors"))
    name = f"{settings.get('model_file_base_name') or ''}.safetensors"
    named = [path for path in files if path.name in (name, _WEIGHTS)] or files
    if len(named) != 1:
        found = ", ".join(repr(path.name) for path in named) or "none"
        raise ModelError(
            f"{str(directory)!r} is a GPTQ model of auto-gptq, whose weights are one .safetensors file; found: {found}."
        )
    return named[0]


def _state(directory: Path, weights: Path) -> str:
    """Differs when the folder's files do, as far as names, sizes and times tell."""
    digest = hashlib.sha256(str(directory).encode())
    for path in (directory / SETTINGS, directory / "config.json", weights):
        found = path.stat()
        digest.update(f"{path.name} {found.st_size} {found.st_mtime_ns}".encode())
    return digest.hexdigest()[:12]
