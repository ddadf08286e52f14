"""Which registered model a directory or file holds, told by its content: family, sizes, and what it brings for prompts.

So a copy, a link, an absolute path or a snapshot in the Hub's cache is asked as the model itself is, whatever its
directory is called. Weights take no part: they may be stored in another number format, or tuned. Knows registered
models and those that were pulled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from camelid_core.integrity import sha256
from camelid_core.json_files import object_in
from camelid_core.paths import models_dir
from camelid_core.templates.hf_chat_template import read_chat_template

from .adapters import ModelAdapter, PullableModel

_SIZES = ("hidden_size", "n_embd", "d_model", "num_hidden_layers", "n_layer", "intermediate_size")


def prompt_signature(config: Mapping[str, Any], chat_template: str, directory: Path | None = None) -> str:
    """Digest of a model's family, sizes and chat template; without the latter, of the tokenizer in `directory`. Empty
    where it has neither."""
    brought = chat_template.strip()
    if not brought and directory is not None and (directory / "tokenizer.json").is_file():
        brought = sha256(directory / "tokenizer.json")
    if not brought:
        return ""
    parts = [config.get("model_type"), {name: config[name] for name in _SIZES if config.get(name)}, brought]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def known_by_content(
    config: Mapping[str, Any], chat_template: str, directory: Path | None, family: ModelAdapter
) -> PullableModel | None:
    """The registered model with a template of its own that a model of this content is; None if it is none of them."""
    candidates = [pullable for pullable in family.pullable if pullable.template]
    signature = prompt_signature(config, chat_template, directory) if candidates else ""
    if not signature:
        return None
    return next((each for each in candidates if signature in (each.signature, _pulled_signature(each))), None)


def _pulled_signature(pullable: PullableModel) -> str:
    """That of what was pulled under the registered name."""
    place = models_dir() / pullable.name
    return prompt_signature(object_in(place / "config.json"), read_chat_template(place), place)
